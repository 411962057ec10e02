"""What an operation is given beside its request: the host, its id, who asked, and a way to go on afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

from geard.dispatch.records import Records
from geard.dispatch.turns import Turns
from geard.facet import AnyFacet
from geard.host import Host
from geard.request import Asker, Progress, Request

P = ParamSpec("P")
T = TypeVar("T")
FollowUp = Callable[[], Awaitable[None]]

# Deeds that wait for the disk. Their own threads, so that a slow one elsewhere does not hold them up.
_disk = ThreadPoolExecutor(8, thread_name_prefix="disk")


class Work:
    """One request being done.

    `lasting` says that this process stays until the report has ended: the agent's does, and a local command's
    that waits. A follow-up of work that does not last hands over to systemd and returns.
    """

    def __init__(
        self, host: Host, id: str, asker: Asker, *, lasting: bool = True, facets: Sequence[AnyFacet] = ()
    ) -> None:
        self.host = host
        self.facets = facets
        self.id = id
        self.asker = asker
        self.lasting = lasting
        self.follow_ups: list[FollowUp | Request[Any]] = []
        self.owed: list[Request[Any]] = []
        self.resumable = True
        self.records: Records | None = None
        self.turns: Turns | None = None
        self.queued: Callable[[bool], None] = lambda waits: None
        self.listener: Callable[[Progress], None] = lambda step: None

    def say(self, phase: str, message: str, id: str = "") -> None:
        """One step of the report."""
        self.listener(Progress(id=id, phase=phase, message=message))

    def conclude(self, phase: str, message: str, id: str = "") -> None:
        """What came of it."""
        self.listener(Progress(id=id, phase=phase, message=message, result=True))

    def then(self, follow_up: FollowUp) -> None:
        """Do this behind the answer, as part of the report; a Failure from it ends the report. It is lost where
        this process is killed.
        """
        self.follow_ups.append(follow_up)
        self.resumable = False

    def owe(self, *requests: Request[Any], first: FollowUp | None = None) -> None:
        """The same, in words, none of them secret: where this process ends before it is done, another does it. So
        the operations behind them must be right whenever they are done, and however often. With `first`, that is
        done here, and the requests only in another process.
        """
        self.owed += requests
        self.follow_ups += [first] if first is not None else requests

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Slow work (a start, a pull, a build) is done inside of this: so many at once. Not one within another."""
        return self.turns.turn(self.queued) if self.turns is not None else nullcontext()

    async def on_disk(self, deed: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking file work in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_disk, lambda: deed(*args, **kwargs))
