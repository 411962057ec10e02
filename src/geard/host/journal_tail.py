"""New entries of the journal, read once for all who follow any.

One reader, open while somebody follows, looks at every entry and hands it to the followers of its unit. It polls,
because journald tells of new entries only every 250 ms.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from geard.failures import Unavailable
from geard.host.journal_reader import Entry, Messages, Reader, What, unreadable

P = ParamSpec("P")
T = TypeVar("T")

# Seconds. A line is with its follower 3 ms (p50) to 8 ms (p99) after it was written. The polls cost 1.2 to 4 % of
# a core while anybody follows anything, and nothing otherwise.
BUSY_POLL = 0.005
QUIET_POLL = 0.010
QUIET_AFTER = 2.0

SWEEP = 10_000  # entries that are looked at before what was found is handed over
HANDFUL = 1_000  # … and that are found: fewer than a follower's queue holds
PATIENCE = 0.5  # a sweep that finds nothing returns then

AT_ONCE = 8  # followers that are handed an entry in one turn of the event loop

# What waits for one follower. Entries are shared between the followers of a unit.
QUEUE_BYTES = 1 << 20
ENTRY_BYTES = 500  # an entry beside its message


class Follower:
    """What one asker has yet to be given. Used on the event loop only."""

    def __init__(self, what: What) -> None:
        self.what = what
        self.missed = 0
        self._queue: deque[Entry] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._failure: Unavailable | None = None

    def restart(self) -> int:
        """Forget what waits; the number of entries missed so far."""
        missed, self.missed, self._bytes = self.missed, 0, 0
        self._queue.clear()
        return missed

    def offer(self, entry: Entry) -> None:
        size = len(entry.message) + ENTRY_BYTES
        # Once one is missed, all after it are: what is given has no holes that are not told of.
        if self.missed or (self._queue and self._bytes + size > QUEUE_BYTES):
            self.missed += 1
        else:
            self._queue.append(entry)
            self._bytes += size
        self._news.set()

    def fail(self, failure: Unavailable) -> None:
        self._failure = failure
        self._news.set()

    async def next(self, deadline: float | None) -> Entry | None:
        """The next entry; None when time is up, or when what comes next was missed. Raises Unavailable."""
        if deadline is not None and deadline <= asyncio.get_running_loop().time():
            self.missed = 0
            return None
        while not self._queue:
            if self._failure is not None:
                raise self._failure
            if self.missed:
                return None
            self._news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                return None
        entry = self._queue.popleft()
        self._bytes -= len(entry.message) + ENTRY_BYTES
        return entry


class Tail:
    """The one reader at the journal's end, in a thread of its own, and the followers it serves."""

    def __init__(self, folder: Path | None) -> None:
        self.users = 0
        self._sweeper = _Sweeper(folder)
        self._thread = _Thread("journal reader")
        self._followers: defaultdict[What, set[Follower]] = defaultdict(set)
        self._joining: list[tuple[Follower, asyncio.Future[tuple[str, int]]]] = []
        self._failure: Unavailable | None = None
        self._task = asyncio.create_task(self._run(), name="journal")

    async def join(self, follower: Follower) -> tuple[str, int]:
        """Have `follower` offered every entry after the one this returns; and how many it had missed."""
        if self._failure is not None:
            raise self._failure
        joined: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        self._joining.append((follower, joined))
        self._sweeper.knock.set()
        return await joined

    def leave(self, follower: Follower) -> None:
        followers = self._followers[follower.what]
        followers.discard(follower)
        if not followers:
            del self._followers[follower.what]

    async def close(self) -> None:
        self._task.cancel()
        self._sweeper.knock.set()
        closed = self._thread.run(self._sweeper.close)
        self._thread.end()
        await asyncio.wait((self._task, closed))

    async def _run(self) -> None:
        try:
            while True:
                joining = tuple(self._joining)
                wanted = frozenset(self._followers)
                swept = await self._thread.run(self._sweeper.sweep, wanted, not joining)
                await self._hand_out(swept.found)
                if not swept.at_end:
                    continue
                del self._joining[: len(joining)]
                for follower, joined in joining:
                    if not joined.cancelled():
                        self._followers[follower.what].add(follower)
                        joined.set_result((swept.cursor, follower.restart()))
        except Unavailable as failure:
            self._fail(failure)
        except OSError as error:
            self._fail(unreadable(error))

    async def _hand_out(self, found: list[tuple[What, Entry]]) -> None:
        """A few at a time: a thousand who are all woken at once would hold up whoever else the loop serves."""
        woken = 0
        for what, entry in found:
            for follower in tuple(self._followers.get(what, ())):
                follower.offer(entry)
                woken += 1
                if woken % AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _fail(self, failure: Unavailable) -> None:
        self._failure = failure
        for followers in self._followers.values():
            for follower in followers:
                follower.fail(failure)
        for _, joined in self._joining:
            if not joined.cancelled():
                joined.set_exception(failure)


@dataclass(frozen=True)
class _Swept:
    found: list[tuple[What, Entry]]
    cursor: str
    """of the last entry there is, of whatever unit; empty where there is none"""
    at_end: bool


class _Thread:
    """Does what it is given, in order. Unlike an executor's, it holds up nobody who leaves by Ctrl-C."""

    def __init__(self, name: str) -> None:
        self._deeds: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def run(self, deed: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        future: Future[T] = Future()

        def do() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(deed(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
                future.set_exception(error)

        self._deeds.put(do)
        return asyncio.wrap_future(future)

    def end(self) -> None:
        """Once all that was given is done."""
        self._deeds.put(None)

    def _work(self) -> None:
        while (deed := self._deeds.get()) is not None:
            deed()


class _Sweeper:
    """Goes over every new entry once.

    Looking at all of them and at one field of each (1.2 µs) costs less than a reader, a thread and all the
    journal's files open once more for each followed unit.
    """

    def __init__(self, folder: Path | None) -> None:
        self.knock = threading.Event()
        """set, from any thread: return soon"""
        self._folder = folder
        self._reader: Reader | None = None
        self._cursor = ""
        self._found_at = time.monotonic()

    def sweep(self, wanted: frozenset[What], patient: bool) -> _Swept:
        """New entries of what is `wanted`; `patient`, waits a while for the first. Raises Unavailable, OSError."""
        if self._reader is None:
            self._reader = self._open()
        until = time.monotonic() + PATIENCE
        while True:
            found, at_end = self._look(self._reader, wanted)
            now = time.monotonic()
            if found:
                self._found_at = now
            if found or not at_end or not patient or now >= until or self.knock.is_set():
                self.knock.clear()
                return _Swept(found, self._cursor, at_end)
            self.knock.wait(BUSY_POLL if now - self._found_at < QUIET_AFTER else QUIET_POLL)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _open(self) -> Reader:
        reader = Reader(self._folder)
        reader.watch()
        reader.seek_tail()
        if reader.previous():
            self._cursor = reader.cursor
        else:
            reader.seek_head()
        return reader

    def _look(self, reader: Reader, wanted: frozenset[What]) -> tuple[list[tuple[What, Entry]], bool]:
        reader.process()
        kinds = [what for what in wanted if isinstance(what, Messages)]
        found: list[tuple[What, Entry]] = []
        seen, size, more = 0, 0, reader.next()
        while more:
            seen += 1
            unit = reader.unit
            if unit in wanted:
                found.append((unit, reader.entry()))
                size += len(found[-1][1].message)
            found += [(messages, reader.entry(messages.fields)) for messages in kinds if reader.says(messages)]
            if seen == SWEEP or len(found) >= HANDFUL or size >= QUEUE_BYTES:
                break
            more = reader.next()
        if seen:
            self._cursor = reader.cursor
        return found, not more
