"""One piece of work per request id; whoever asks again with the same id joins it.

A `Running` keeps its answer and its whole report, so that a second asker sees both from the first word. This
holds while the process lives; what outlives the agent is in systemd and on disk.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import islice
from typing import Any

from geard.dispatch.callback import Callbacks
from geard.dispatch.operation import operation_for
from geard.dispatch.work import Work
from geard.facet import AnyFacet
from geard.failures import Bug, Conflict, Failure, Full, Unavailable
from geard.host import Host
from geard.identifiers import new_request_id
from geard.request import Asker, Progress, Request

log = logging.getLogger(__name__)

KEEP_SECONDS = 24 * 3600
KEEP_RECORDS = 10_000
REPORT_STEPS = 2_000
RUNNING_LIMIT = 1_000


class Running:
    """A mutating request that was accepted: its answer, then its report, for any number of askers."""

    def __init__(self, id: str, request: Request[Any], asker: Asker) -> None:
        self.id = id
        self.request = request
        self.asker = asker
        self._answer: Any = None
        self._answered = asyncio.Event()
        self.steps: list[Progress] = []
        self.failure: Failure | None = None
        self.ended_at: float | None = None
        self._changed = asyncio.Event()

    async def answer(self) -> Any:
        """Raises the Failure that it ended with instead. Who leaves meanwhile ends nothing."""
        # An event, no future behind a shield: who waits goes on in the next turn of the loop, not the one after.
        await self._answered.wait()
        if isinstance(self._answer, Failure):
            raise self._answer
        return self._answer

    def answered(self, answer: Any) -> None:
        """The answer, or a Failure in its place."""
        self._answer = answer
        self._answered.set()

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    def add(self, step: Progress) -> None:
        if len(self.steps) < REPORT_STEPS:
            self.steps.append(step)
        self._wake()

    def end(self, failure: Failure | None) -> None:
        self.failure = failure
        self.ended_at = time.monotonic()
        self.request = self.request.kept()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def report(self) -> AsyncIterator[Progress]:
        """Every step from the first; ends with the report, raising the Failure that ended it, if one did."""
        seen = 0
        while True:
            changed = self._changed
            while seen < len(self.steps):
                yield self.steps[seen]
                seen += 1
            if self.ended:
                break
            await changed.wait()
        if self.failure is not None:
            raise self.failure

    def same(self, request: Request[Any], asker: Asker) -> bool:
        asked = request.kept() if self.ended else request
        return self.asker == asker and type(self.request) is type(request) and self.request == asked


class Dispatcher:
    def __init__(self, host: Host, facets: Sequence[AnyFacet] = ()) -> None:
        self.host = host
        self.facets = facets
        self._records: OrderedDict[str, Running] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.when_ended: list[Callable[[Running], None]] = []
        """told of every request that has ended; they return at once"""
        self.callbacks: Callbacks | None = None
        """the agent's, while it runs"""

    def perform(self, request: Request[Any], asker: Asker, id: str = "", *, lasting: bool = True) -> Running:
        """Start `request`, or join the one that has this id.

        Raises Conflict where the id belongs to another question, Full when too much is running; a refused
        request does not use up its id.
        """
        id = id or new_request_id()
        known = self._records.get(id)
        if known is not None:
            if known.same(request, asker):
                return known
            raise Conflict(f"request id {id} was used for something else", hint="take a new id for a new question")
        self._forget_old()
        if len(self._tasks) >= RUNNING_LIMIT:
            raise Full(
                f"{RUNNING_LIMIT} requests are being worked on",
                hint="ask again in a moment, with the same id",
            )
        running = Running(id, request, asker)
        self._records[id] = running
        work = Work(self.host, id, asker, lasting=lasting, facets=self.facets)
        work.listener = running.add
        task = asyncio.create_task(self._run(running, work), name=f"request {id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return running

    def known(self, id: str) -> Running | None:
        return self._records.get(id)

    async def ask(self, request: Request[Any], asker: Asker) -> Any:
        """Answer a question that changes nothing; it takes no record and no slot."""
        work = Work(self.host, new_request_id(), asker, facets=self.facets)
        try:
            return await operation_for(type(request)).run(request, work)
        except OSError as error:
            failure = failure_of_disk(error)
            if failure is None:
                raise
            raise failure from None

    def stream(self, request: Request[Any], asker: Asker) -> AsyncIterator[Any]:
        """The items a streaming request is answered with. Streams hold no slot."""
        work = Work(self.host, new_request_id(), asker, facets=self.facets)
        items: AsyncIterator[Any] = operation_for(type(request)).run(request, work)
        return items

    async def drain(self) -> None:
        """Wait for what is running: the agent does so before it stops, a local command before it exits."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def running(self) -> int:
        return len(self._tasks)

    async def _run(self, running: Running, work: Work) -> None:
        await self._do(running, work)
        for tell in self.when_ended:
            tell(running)

    async def _do(self, running: Running, work: Work) -> None:
        try:
            answer = await operation_for(type(running.request)).run(running.request, work)
        except Exception as error:  # noqa: BLE001 - the edge: a bug in one operation harms no other
            failure = as_failure(error, running)
            running.answered(failure)
            running.end(failure)
            return
        running.answered(answer)
        await asyncio.sleep(0.001)  # the answer is sent first, and nothing of what follows holds it up
        try:
            for follow_up in work.follow_ups:
                await follow_up()
        except Exception as error:  # noqa: BLE001 - the edge, as above
            running.end(as_failure(error, running))
            return
        running.end(None)

    def _forget_old(self) -> None:
        """Drop ended records past their time, or the oldest ended ones past the bound; never a running one."""
        horizon = time.monotonic() - KEEP_SECONDS
        over = len(self._records) - KEEP_RECORDS
        for id, running in list(islice(self._records.items(), max(over, 0) + 16)):
            if running.ended_at is not None and (over > 0 or running.ended_at < horizon):
                del self._records[id]
                over -= 1


def as_failure(error: BaseException, running: Running) -> Failure:
    if isinstance(error, Failure):
        return error
    failure = failure_of_disk(error) if isinstance(error, OSError) else None
    if failure is not None:
        return failure
    log.error("request %s (%s) met a bug", running.id, type(running.request).__name__, exc_info=error)
    return Bug(f"geard met a bug of its own; the journal knows it as request {running.id}")


_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_MACHINE = (*_FULL, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def failure_of_disk(error: OSError) -> Failure | None:
    """A disk that is full or broken is no bug of ours; None for every other error."""
    if error.errno not in _OF_THE_MACHINE:
        return None
    about = f" {error.filename}" if error.filename else ""
    more = "make room (df -h, df -i), then" if error.errno in _FULL else "when that is mended,"
    return Unavailable(
        f"cannot write or read{about}: {os.strerror(error.errno)}",
        hint=f"{more} ask again; nothing is half done that the same request does not complete",
    )
