"""Asking other machines' agents, for operations: those that `gear host add` made known to root here.

    answer = await ask_peer("h2", GetVersion())

Operations do not know how a request is carried; whoever runs them says so, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from geard.failures import Unavailable
from geard.request import Follow, Request

R = TypeVar("R")


class Peer(Protocol):
    def send(self, request: Request[R], *, follow: Follow | None = None) -> R: ...


_reach: list[Callable[[str], Any]] = []


def reach_peers_by(reach: Callable[[str], Peer]) -> None:
    """`reach(name)` makes what carries requests to the machine of that name."""
    _reach[:] = [reach]


async def ask_peer(name: str, request: Request[R], *, follow: Follow | None = None) -> R:
    """The answer of the agent on machine `name`; `follow` is called in another thread. Raises the Failure it met,
    Unavailable where it is not to be reached.
    """
    if not _reach:
        raise Unavailable(f"{name} can be asked by the agent alone")
    peer: Peer = _reach[0](name)
    return await asyncio.to_thread(peer.send, request, follow=follow)
