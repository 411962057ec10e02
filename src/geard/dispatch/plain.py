"""HTTP that is no request of geard's: a room's answers to a protocol of others (its door `registry.py`).

The daemon knows who asks, and whether they may; the room says what is answered, in the words of that protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ask:
    method: str
    path: str
    """as it came, nothing decoded"""
    query: Mapping[str, str]
    range: str = ""
    """the Range header"""


@dataclass(frozen=True)
class Plain:
    """An answer. With `pieces` its body is these, read in a thread, `length` bytes of them."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    pieces: Callable[[], Iterator[bytes]] | None = None
    length: int = 0
