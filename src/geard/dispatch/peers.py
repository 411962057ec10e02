"""Asking other machines' agents, for operations: those that `gear host add` made known to root here.

    answer = await ask_peer("h2", GetVersion())

Operations do not know how a request is carried; whoever runs them says so, once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from geard.failures import Unavailable
from geard.request import Follow, Request

R = TypeVar("R")


class Peer(Protocol):
    def send(self, request: Request[R], *, follow: Follow | None = None) -> R: ...


@dataclass(frozen=True)
class Way:
    """For another program that is to speak to that machine's agent: where, and how both prove who they are."""

    address: str
    port: int
    certificate: str
    key: str
    authority: str
    """PEM, all three"""


_reach: list[Callable[[str], Any]] = []
_ways: list[Callable[[str], Way]] = []


def reach_peers_by(reach: Callable[[str], Peer], way: Callable[[str], Way] | None = None) -> None:
    """`reach(name)` makes what carries requests to the machine of that name."""
    _reach[:] = [reach]
    _ways[:] = [way] if way is not None else []


def way_to(name: str) -> Way:
    """Raises Unavailable where it is not known."""
    if not _ways:
        raise Unavailable(f"no way to {name} is known here")
    return _ways[0](name)


async def ask_peer(name: str, request: Request[R], *, follow: Follow | None = None) -> R:
    """The answer of the agent on machine `name`; `follow` is called in another thread. Raises the Failure it met,
    Unavailable where it is not to be reached.
    """
    if not _reach:
        raise Unavailable(f"{name} can be asked by the agent alone")
    peer: Peer = _reach[0](name)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[R] = loop.create_future()

    def tell(given: R | None, error: BaseException | None) -> None:
        if answer.done():  # nobody waits any more
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(cast(R, given))

    def send() -> None:
        given, failed = None, None
        try:
            given = peer.send(request, follow=follow)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            failed = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, given, failed)

    # A thread of its own: this process's end does not wait for a machine that does not answer.
    threading.Thread(target=send, name=f"peer {name}", daemon=True).start()
    return await answer
