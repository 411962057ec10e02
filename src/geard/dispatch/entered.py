"""A link that stands for another request. A room makes such links, and has a door `entrance.py` for them:

PREFIX = "/token/"
async def enter(host: Host, path: str) -> Entered
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from geard.request import Asker


@dataclass(frozen=True)
class Entered:
    """What somebody asks who holds the link, and as whom."""

    asker: Asker
    methods: tuple[str, ...]
    """by which the link may be used"""
    method: str
    path: str
    query: str
    body: bytes
    expires: float
    """seconds since 1970; what still goes on then is ended"""
    request_id: str
    """by which a change is done; empty for what changes nothing"""
    holds: Callable[[], Asker] | None
    """whether it still does; None where nobody can end it alone. Raises Denied"""
    spend: Callable[[], Awaitable[None]]
    """Called before a change is done, however it ends. Raises Denied where that was so before."""
