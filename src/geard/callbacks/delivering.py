"""Keeping what was promised: the outcome into the outbox when an operation has ended, then to its receiver."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import msgspec

from geard.callbacks import outcome, signing, tries
from geard.callbacks.outbox import Entry, Outbox, check_room, rfc3339, surplus
from geard.callbacks.settings import CallbackSettings
from geard.dispatch.dispatcher import Dispatcher
from geard.dispatch.running import Running
from geard.failures import Failure, NotFound
from geard.host import Host
from geard.host.fetch import Reply, check_target, origin, post
from geard.request import Nothing

log = logging.getLogger(__name__)

DISK_SECONDS = 60.0
"""until something is tried again that the disk did not take: who has been told must not be told at once again"""
STOP_SECONDS = 5.0
TOGETHER = 8
"""tries at a time; each is a process for as long as it lasts"""
TO_ONE_RECEIVER = 2
LOOK_SECONDS = 10.0
"""until the outbox is looked at again: a `gear callback retry` without the agent changes it too"""
ORPHAN_SECONDS = 60.0
"""after the agent's start: what nobody has resumed by then, nobody will"""


class Deliverer:
    """The agent's: one for its outbox. For one event loop."""

    def __init__(self, host: Host, dispatcher: Dispatcher) -> None:
        self._host = host
        self._dispatcher = dispatcher
        self._outbox = Outbox(host.paths)
        # At once: with socket activation somebody is asking already.
        self._entries = self._outbox.entries()
        self._promised: set[str] = set()
        self._under_way: dict[str, str] = {}
        self._not_before: dict[str, float] = {}
        self._noting: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    # --- what is promised, and what becomes of it

    def check(self, url: str) -> None:
        check_target(url, self._host.settings.section(CallbackSettings).allow)
        check_room(self._entries)

    async def promise(self, running: Running, url: str, what: str, asker: str, *, secret_answer: bool) -> None:
        entry = Entry(
            id=running.id,
            url=url,
            what=what,
            asker=asker,
            accepted=rfc3339(time.time()),
            secret_answer=secret_answer,
        )
        known = await asyncio.to_thread(self._outbox.promise, entry)
        if known.state == "running":
            self._promised.add(running.id)
            self.ended(running)  # it may have, meanwhile

    def ended(self, running: Running) -> None:
        """Called with every request that has ended."""
        if running.id in self._promised and running.ended:
            self._promised.discard(running.id)
            task = asyncio.create_task(self._note(running), name=f"outcome of {running.id}")
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    async def _note(self, running: Running) -> None:
        """Put the outcome into the outbox."""
        ended = rfc3339(time.time())
        failure, answer = running.failure, Nothing()
        with suppress(Failure):  # it ended well, and its answer is kept nowhere: a secret, or another version's
            answer = await running.answer()

        def body(entry: Entry) -> str:
            if failure is not None:
                return outcome.failed(entry, ended, failure)
            return outcome.done(entry, ended, answer, running.steps)

        await self._fill(running.id, body, ended)

    async def _fill(self, id: str, body: Callable[[Entry], str], ended: str) -> None:
        def fill(entry: Entry) -> Entry:
            return entry if entry.body else msgspec.structs.replace(entry, body=body(entry), ended=ended)

        while True:
            try:
                await asyncio.to_thread(self._outbox.change, id, fill)
            except NotFound:
                return  # removed by hand
            except OSError as error:
                log.warning("callback %s: the outcome cannot be written: %s", id, error)
                await asyncio.sleep(LOOK_SECONDS)
            else:
                self._wake.set()
                return

    async def noted(self) -> None:
        """Wait until what has ended is in the outbox, before the agent stops; not for a disk that is full."""
        if self._noting:
            _, left = await asyncio.wait(self._noting, timeout=STOP_SECONDS)
            for task in left:
                task.cancel()

    # --- what an earlier agent promised

    async def take_over(self) -> None:
        """See to what was promised before this agent began. What it resumes tells its end by itself."""
        orphans = {entry.id for entry in self._entries if entry.state == "running"}
        self._promised |= orphans
        for id in orphans:
            if (running := self._dispatcher.known(id)) is not None:
                self.ended(running)
        if not orphans:
            return
        await asyncio.sleep(ORPHAN_SECONDS)
        for id in orphans & self._promised:
            running = self._dispatcher.known(id)
            if running is None:
                self._promised.discard(id)
                await self._forsake(id)
            else:
                self.ended(running)  # given up meanwhile, by whoever looked through the records

    async def _forsake(self, id: str) -> None:
        ended = rfc3339(time.time())
        log.warning("callback %s: what became of the request is not known", id)
        await self._fill(id, lambda entry: outcome.unknown(entry, ended), ended)

    # --- delivering

    async def deliver(self) -> None:
        """For as long as the agent lives."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                self._entries = await asyncio.to_thread(self._outbox.entries)
                await self._tidy()
                now = time.time()
                for entry in self._next(now):
                    self._under_way[entry.id] = origin(entry.url)
                    group.create_task(self._try(entry), name=f"callback {entry.id}")
                try:
                    async with asyncio.timeout(self._pause(now)):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _tidy(self) -> None:
        try:
            for entry in surplus(self._entries):
                await asyncio.to_thread(self._outbox.remove, entry.id)
        except OSError as error:
            log.warning("a dead callback cannot be removed: %s", error)

    def _next(self, now: float) -> list[Entry]:
        """Those to try now: the longest due first, and of each receiver only a few at a time."""
        found: list[Entry] = []
        busy = Counter(self._under_way.values())
        for entry in sorted(self._entries, key=lambda entry: entry.next_try):
            to = origin(entry.url)
            stuck = time.monotonic() < self._not_before.get(entry.id, 0)
            if entry.id in self._under_way or stuck or not tries.due(entry, now) or busy[to] >= TO_ONE_RECEIVER:
                continue
            if busy.total() >= TOGETHER:
                break
            busy[to] += 1
            found.append(entry)
        return found

    def _pause(self, now: float) -> float:
        soonest = [
            entry.next_try - now
            for entry in self._entries
            if entry.state == "waiting" and not tries.due(entry, now) and entry.id not in self._under_way
        ]
        return max(0.01, min([*soonest, LOOK_SECONDS]))

    async def _try(self, entry: Entry) -> None:
        try:
            await self._settle(entry, *await self._post(entry))
            self._not_before.pop(entry.id, None)
        except NotFound:
            pass  # removed meanwhile
        except OSError as error:
            log.warning("callback %s: what came of a try cannot be written: %s", entry.id, error)
            self._not_before[entry.id] = time.monotonic() + DISK_SECONDS
        finally:
            del self._under_way[entry.id]
            self._wake.set()

    async def _post(self, entry: Entry) -> tuple[str, Reply | None]:
        """What went wrong, empty where nothing did; the receiver's reply, where it gave one."""
        body = entry.body.encode()
        try:
            allow = self._host.settings.section(CallbackSettings).allow
            key = await asyncio.to_thread(signing.key, self._host.paths)
            headers = signing.headers(key, signing.delivery_id(key, entry.id), int(time.time()), body)
            reply = await post(entry.url, body, headers, allow)
        except Failure as failure:
            return f"{failure.message}; {failure.hint}" if failure.hint else failure.message, None
        return "" if tries.delivered(reply) else tries.problem_of(reply), reply

    async def _settle(self, entry: Entry, problem: str, reply: Reply | None) -> None:
        """Raises NotFound where somebody has removed it."""
        to = origin(entry.url)
        if not problem:
            await asyncio.to_thread(self._outbox.remove, entry.id)
            log.info("callback %s: %s has it, at try %d", entry.id, to, entry.tries + 1)
            return
        now = time.time()
        left = await asyncio.to_thread(
            self._outbox.change, entry.id, lambda entry: tries.after(entry, problem, now, reply)
        )
        if left.dead:
            log.warning("callback %s: given up on %s after %d tries: %s", entry.id, to, left.tries, problem)
        elif left.tries == 1:
            log.info("callback %s: %s has not taken it, and is tried again: %s", entry.id, to, problem)
