"""One piece of work per request id; whoever asks again with the same id joins it.

The answer comes first, what takes longer follows behind it as the report. Both go on record (`records`): they can
be joined in another process, and after this one has ended. What was answered and not done is gone on with.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from geard.dispatch.callback import Callbacks
from geard.dispatch.operation import all_operations, operation_for
from geard.dispatch.record import Line, Owed, Record, Told
from geard.dispatch.records import Hold, Records, conflict, cut_behind_the_answer, cut_for_good
from geard.dispatch.running import Running
from geard.dispatch.settings import AT_ONCE, RequestSettings
from geard.dispatch.turns import Orders, Turns
from geard.dispatch.work import Work
from geard.facet import AnyFacet
from geard.failures import Bug, Failure, Full, Invalid, TooMany, Unavailable
from geard.host import Host
from geard.identifiers import new_request_id
from geard.request import Asker, Request, answer_type
from geard.words import builtins_of, read

log = logging.getLogger(__name__)

RUNNING_LIMIT = 1_000
GRACE_SECONDS = 1.0
"""for everything to end by itself, before what others can go on with is left to them"""
PUT_AWAY_SECONDS = 0.2
LOOK_SECONDS = 30.0
"""how often the agent looks for what other processes left"""
SWEEP_SECONDS = 600.0


class Dispatcher:
    def __init__(self, host: Host, facets: Sequence[AnyFacet] = ()) -> None:
        self.host = host
        self.facets = facets
        self.records = Records(host.paths)
        self._live: dict[str, Running] = {}
        self._tasks: dict[asyncio.Task[None], Running] = {}
        self._turns = Turns(self._at_once)
        self._orders = Orders()
        self._ended: list[str] = []
        self._some_ended = asyncio.Event()
        self._resumed: asyncio.Future[list[Request[Any]]] | None = None
        self._swept = 0.0
        self.when_ended: list[Callable[[Running], None]] = []
        """told of every request that has ended; they return at once"""
        self.callbacks: Callbacks | None = None
        """the agent's, while it runs"""

    def perform(self, request: Request[Any], asker: Asker, id: str = "", *, lasting: bool = True) -> Running:
        """Start `request`, or join the one that has this id.

        Raises Conflict where the id belongs to another question, Full when too much is running; a refused
        request does not use up its id. What has no route is this machine's own business, and kept nowhere.
        """
        heading = self.records.heading(request, asker, id or new_request_id())
        known = self._live.get(heading.id)
        if known is not None:
            if known.heading.same(heading):
                return known
            raise conflict(heading.id)
        if len(self._tasks) >= RUNNING_LIMIT:
            raise Full(
                f"{RUNNING_LIMIT} requests are being worked on",
                hint="ask again in a moment, with the same id",
            )
        running = Running(heading)
        work = self._work(running, asker, lasting=lasting)
        if type(request).route is None:
            self._begin(running, self._do(running, request, work))
            return running
        claim = self.records.claim(heading)
        running.hold = claim.hold
        if claim.record is None:
            self._begin(running, self._do(running, request, work))
        elif claim.record.ended is not None:
            running.restore(claim.record, answer_type(type(request)))
        elif claim.hold is None:
            self._begin(running, self._watch(running, request, work))
        else:
            self._begin(running, self._take_up(running, claim.record, request, work))
        return running

    def known(self, id: str) -> Running | None:
        """The request of that id, where it is under way here, or has ended and is on record."""
        if (live := self._live.get(id)) is not None:
            return live
        found = self.records.find(id)
        if found is None or found[0].ended is None:
            return None
        kind = _kinds().get(found[0].heading.kind)
        running = Running(found[0].heading)
        running.restore(found[0], answer_type(kind) if kind is not None else Any)
        return running

    async def ask(self, request: Request[Any], asker: Asker) -> Any:
        """Answer a question that changes nothing; it takes no record and no slot."""
        try:
            return await operation_for(type(request)).run(request, self._unrecorded(asker))
        except OSError as error:
            failure = failure_of_disk(error)
            if failure is None:
                raise
            raise failure from None

    def stream(self, request: Request[Any], asker: Asker) -> AsyncIterator[Any]:
        """The items a streaming request is answered with. Streams hold no slot."""
        items: AsyncIterator[Any] = operation_for(type(request)).run(request, self._unrecorded(asker))
        return items

    async def drain(self) -> None:
        """Wait for what is running: a local command does so before it exits."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self, seconds: float) -> None:
        """Let end what is quick. What is answered and can be gone on with is left to the next agent, and after so
        many seconds all the rest.
        """
        end = time.monotonic() + seconds
        grace = min(time.monotonic() + GRACE_SECONDS, end)
        while self._tasks and time.monotonic() < end:
            if time.monotonic() >= grace:
                self._leave([task for task, running in self._tasks.items() if running.resumable])
            await asyncio.wait(self._tasks, timeout=0.05)
        if self._tasks:
            log.warning("%d requests are still being worked on; stopping all the same", self.running)
            self._leave(list(self._tasks))
            await asyncio.wait(self._tasks, timeout=1)
        await asyncio.to_thread(self.records.put_away, self._take_ended())

    @property
    def running(self) -> int:
        return len(self._tasks)

    @property
    def queued(self) -> int:
        """Those that wait for their turn to do slow work, or for another's change of the same gear."""
        return self._turns.waiting + self._orders.waiting

    async def resume(self) -> list[Request[Any]]:
        """Go on with what killed processes left; the requests by which that is done. Asked again: the same."""
        if self._resumed is None:
            self._resumed = asyncio.ensure_future(self._take_up_all())
        return await asyncio.shield(self._resumed)

    async def keep(self) -> None:
        """The agent's: go on with what is left, now and whenever another process leaves something; move records to
        the disk, and remove those whose time is over.
        """
        await self.resume()
        while True:
            try:
                await asyncio.wait_for(self._some_ended.wait(), LOOK_SECONDS)
            except TimeoutError:
                await self._take_up_all()
            await asyncio.sleep(PUT_AWAY_SECONDS)
            await self.put_away(sweep=time.monotonic() - self._swept > SWEEP_SECONDS)

    async def put_away(self, *, sweep: bool) -> None:
        """Move the records of what has ended to the disk."""
        if ids := self._take_ended():
            await asyncio.to_thread(self.records.put_away, ids)
        if sweep:
            self._swept = time.monotonic()
            settings = self._settings()
            await asyncio.to_thread(
                self.records.sweep, settings.keep_hours * 3_600, settings.keep_megabytes * 1_000_000
            )

    # --- one request

    def _begin(self, running: Running, doing: Coroutine[Any, Any, None]) -> None:
        async def do() -> None:
            try:
                await doing
            except asyncio.CancelledError:
                running.leave()
            except Exception as error:  # noqa: BLE001 - the edge: a bug in one operation harms no other
                self._fail(running, as_failure(error, running))
            finally:
                self._live.pop(running.id, None)
                if running.ended:
                    for tell in self.when_ended:
                        tell(running)
                if running.hold is not None:
                    self._ended.append(running.id)
                    self._some_ended.set()

        self._live[running.id] = running
        task = asyncio.create_task(do(), name=f"request {running.id}")
        self._tasks[task] = running
        task.add_done_callback(self._tasks.pop)

    async def _do(self, running: Running, request: Request[Any], work: Work) -> None:
        async with self._orders.one_of(request.subject(), running.queued):
            if not request.repeatable:
                await work.on_disk(self.records.make_durable, running.heading)
            answer = await operation_for(type(request)).run(request, work)
        running.resumable = work.resumable
        running.answered(answer, [_owed(each) for each in work.owed])
        await asyncio.sleep(0.001)  # the answer is sent first, and nothing of what follows holds it up
        await self._follow_up(running, work)

    async def _follow_up(self, running: Running, work: Work, *, lost: bool = False) -> None:
        for follow_up in work.follow_ups:  # one may add another
            if callable(follow_up):
                await follow_up()
            else:
                await operation_for(type(follow_up)).run(follow_up, work)
        running.end(cut_behind_the_answer(running.heading) if lost else None)

    def _fail(self, running: Running, failure: Failure) -> None:
        if not running.is_answered:
            if isinstance(failure, Full | TooMany):
                running.unlisted()
            running.answered(failure)
        running.end(failure)

    async def _take_up(self, running: Running, record: Record, request: Request[Any] | None, work: Work) -> None:
        """Go on where a process that was killed left off; without its words only what it owes."""
        if record.answered:
            kind = _kinds().get(record.heading.kind)
            running.restore(record, answer_type(kind) if kind is not None else Any)
            running.resumable = True
            owed = _read_owed(record)
            work.owe(*(owed or ()))
            await self._follow_up(running, work, lost=record.lost or owed is None)
        elif request is not None and request.repeatable:
            await self._do(running, request, work)
        else:
            self._fail(running, cut_for_good(record))

    async def _watch(self, running: Running, request: Request[Any], work: Work) -> None:
        """Another process is at it. Should that be killed, it is ours."""
        seen, kind = 0, answer_type(type(request))
        running.resumable = True
        while True:
            number = 0
            async for line in self.records.follow(running.id):
                number += 1
                if number > seen:
                    running.take(line, kind)
            seen = max(seen, number)
            if running.ended:
                return
            claim = self.records.claim(running.heading)
            if claim.hold is not None:
                running.hold = claim.hold
                break
        if claim.record is None:
            await self._do(running, request, work)
            return
        running.steps.clear()
        await self._take_up(running, claim.record, request, work)

    async def _take_up_all(self) -> list[Request[Any]]:
        found: list[Request[Any]] = []
        for record, hold in await asyncio.to_thread(self.records.left):
            owed = _read_owed(record)
            if record.answered and owed is not None:
                found += owed
                log.info("going on with request %s: %s", record.heading.id, record.heading.what)
                running = Running(record.heading, hold)
                asker = Asker(record.heading.by, frozenset(("read", "operate", "admin")))
                self._begin(running, self._take_up(running, record, None, self._work(running, asker)))
            else:
                self._give_up(record, hold)
        return found

    def _give_up(self, record: Record, hold: Hold) -> None:
        """Of what was not answered nothing was promised: it is begun again by who asks again, or has failed."""
        if record.answered or not record.heading.repeatable:
            hold.add(Line(ended=time.time(), failure=Told.of(cut_for_good(record))))
            self._ended.append(record.heading.id)
            self._some_ended.set()
        hold.close()

    # ---

    def _work(self, running: Running, asker: Asker, *, lasting: bool = True) -> Work:
        work = Work(self.host, running.id, asker, lasting=lasting, facets=self.facets)
        work.records, work.turns = self.records, self._turns
        work.listener, work.queued = running.add, running.queued
        return work

    def _unrecorded(self, asker: Asker) -> Work:
        work = Work(self.host, new_request_id(), asker, facets=self.facets)
        work.records = self.records
        return work

    def _leave(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()

    def _take_ended(self) -> list[str]:
        ended, self._ended = self._ended, []
        self._some_ended.clear()
        return ended

    def _settings(self) -> RequestSettings:
        try:
            return self.host.settings.section(RequestSettings)
        except Invalid as mistake:  # in geard.toml; it keeps no request from being done
            log.warning("%s", mistake.message)
            return RequestSettings()

    def _at_once(self) -> int:
        return self._settings().at_once or AT_ONCE


def _owed(request: Request[Any]) -> Owed:
    return Owed(kind=type(request).__name__, words=builtins_of(request))


def _read_owed(record: Record) -> list[Request[Any]] | None:
    """None where these are words of another version of geard's."""
    try:
        return [read(_kinds()[owed.kind], owed.words) for owed in record.owed]
    except (KeyError, Invalid):
        return None


def _kinds() -> dict[str, type[Request[Any]]]:
    return {kind.__name__: kind for kind in all_operations()}


def as_failure(error: BaseException, running: Running) -> Failure:
    if isinstance(error, Failure):
        return error
    failure = failure_of_disk(error) if isinstance(error, OSError) else None
    if failure is not None:
        return failure
    log.error("request %s (%s) met a bug", running.id, running.heading.kind, exc_info=error)
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
