"""The journal, read: a page of old entries, then new ones as they come, for any number of followers.

Old entries are read in chunks by threads that hold nothing between two chunks, so a client that reads
slowly costs no thread. New ones are read once, whoever follows what: one reader, open while somebody follows,
looks at every entry and hands it to the followers of its unit. It polls, because journald tells of new
entries only every 250 ms.

Between the page and the following there is neither a gap nor an overlap: a page ends at the very entry at
which the follower joined. A follower that cannot keep up catches up from the journal itself, and is told the
number of entries it missed where they are too many for that.
"""

from __future__ import annotations

import asyncio
import importlib
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from geard.failures import Invalid, Unavailable
from geard.host.journal_writing import JournalWriter

P = ParamSpec("P")
T = TypeVar("T")

# Seconds. A line is with its follower 3 ms (p50) to 8 ms (p99) after it was written. The polls cost 1.2 to 4 % of
# a core while anybody follows anything, and nothing otherwise.
BUSY_POLL = 0.005
QUIET_POLL = 0.010
QUIET_AFTER = 2.0

FIRST_CHUNK = 100  # what is wanted soon
CHUNK = 1_000
CHUNK_BYTES = 1 << 20  # of messages; the entry that goes beyond is the last
SWEEP = 10_000  # entries that are looked at before what was found is handed over
HANDFUL = 1_000  # … and that are found: fewer than a follower's queue holds
PATIENCE = 0.5  # a sweep that finds nothing returns then

AT_ONCE = 8  # followers that are handed an entry in one turn of the event loop

# What waits for one follower. Entries are shared between the followers of a unit.
QUEUE_BYTES = 1 << 20
ENTRY_BYTES = 500  # an entry beside its message
CATCH_UP = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    time: int
    """microseconds since 1970"""
    cursor: str
    """its name for good; starting after it gives what followed"""
    message: str
    """bytes that are no UTF-8 are replaced"""
    priority: int = 6
    identifier: str = ""
    """the program that wrote it"""
    pid: int = 0
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """what else was asked for, by the journal's names (systemd.journal-fields(7))"""


@dataclass(frozen=True, slots=True)
class Missed:
    """So many entries came that this follower could not be given; 0 where the journal itself has lost them: it
    does not have the entry any more after which was asked, and nobody knows how many followed.
    """

    count: int


@dataclass(frozen=True)
class Messages:
    """Entries by what they say: the MESSAGE_ID that systemd's catalog, and geard, give each kind of message.

    Anybody may write any of them, so it counts who journald says has written it.
    """

    of_systemd: frozenset[str]
    """believed where PID 1 says it"""
    of_root: frozenset[str]
    """believed where root of this host says it, by an entry of its own and not by a line of its output"""
    marks: frozenset[tuple[str, str]] = frozenset()
    """a field and its value, in place of a MESSAGE_ID, of programs that give none; believed as `of_root`"""
    fields: tuple[str, ...] = ()
    """to be read beside the message"""


What = str | Messages
"""Entries of which unit, or of which kinds."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which entries: all, unless it says less. Times are microseconds since 1970."""

    lines: int | None = None
    """the last so many"""
    at_least: int = 0
    """the last so many, even those from before `since`"""
    since: int | None = None
    until: int | None = None
    after: str = ""
    """a cursor"""
    run_up: int = 0
    """with `after`: begin so many microseconds before that entry, if it is still there"""


class Journal:
    """The journal of this host, or the journal files in `folder`. For one event loop."""

    def __init__(
        self, folder: Path | None = None, *, catch_up: int = CATCH_UP, writer: JournalWriter | None = None
    ) -> None:
        self._folder = folder
        self._writer = writer or JournalWriter()
        self._catch_up = catch_up
        self._pages = ThreadPoolExecutor(4, thread_name_prefix="journal page")
        self._tail: _Tail | None = None

    async def entries(
        self, what: What, span: Span, *, follow: bool = False, deadline: float | None = None
    ) -> AsyncGenerator[Entry | Missed, None]:
        """The entries of a unit and those of PID 1 about it, as `journalctl --unit` has them, or those of some
        kinds; oldest first.

        With `follow` also those to come, until the event loop's `deadline`. Close it (`aclosing`) when done.
        Raises Unavailable where the journal cannot be read, Invalid for a cursor that is none.
        """
        if not follow:
            page = _Page(self._folder, what, span)
            while not page.ended:
                for entry in await self._chunk(page):
                    yield entry
            return
        follower = _Follower(what)
        tail = self._tail = self._tail or _Tail(self._folder)
        tail.users += 1
        try:
            while True:
                joined_at, missed = await tail.join(follower)
                if missed > self._catch_up:
                    yield Missed(missed)
                else:
                    page = _Page(self._folder, what, span, joined_at)
                    while not page.ended:
                        for entry in await self._chunk(page):
                            yield entry
                            if isinstance(entry, Entry):
                                span = Span(after=entry.cursor, until=span.until)
                while (news := await follower.next(deadline)) is not None:
                    span = Span(after=news.cursor, until=span.until)
                    if span.until is None or news.time <= span.until:
                        yield news
                if not follower.missed:
                    return
        finally:
            tail.leave(follower)
            tail.users -= 1
            if tail.users == 0:
                self._tail = None
                await tail.close()

    def tell(self, fields: Mapping[str, str]) -> None:
        """Write an entry. It takes some 20 µs and waits for nobody; what journald does not take is lost."""
        self._writer.send(fields)

    @property
    def readers(self) -> int:
        """How many readers are open for followers: one, if there are any."""
        return 0 if self._tail is None else 1

    async def _chunk(self, page: _Page) -> list[Entry | Missed]:
        return await asyncio.get_running_loop().run_in_executor(self._pages, page.chunk)


class _Follower:
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


class _Tail:
    """The one reader at the journal's end, in a thread of its own, and the followers it serves."""

    def __init__(self, folder: Path | None) -> None:
        self.users = 0
        self._sweeper = _Sweeper(folder)
        self._thread = _Thread("journal reader")
        self._followers: defaultdict[What, set[_Follower]] = defaultdict(set)
        self._joining: list[tuple[_Follower, asyncio.Future[tuple[str, int]]]] = []
        self._failure: Unavailable | None = None
        self._task = asyncio.create_task(self._run(), name="journal")

    async def join(self, follower: _Follower) -> tuple[str, int]:
        """Have `follower` offered every entry after the one this returns; and how many it had missed."""
        if self._failure is not None:
            raise self._failure
        joined: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        self._joining.append((follower, joined))
        self._sweeper.knock.set()
        return await joined

    def leave(self, follower: _Follower) -> None:
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
            self._fail(_unreadable(error))

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


class _Page:
    """Entries that are there already, read by whichever thread has time, a chunk at a time.

    With `joined_at`, the cursor of an entry of any unit, it ends with the unit's last entry up to that one;
    empty means that there was none at all. Without, it ends with the last there is when it begins.
    """

    def __init__(self, folder: Path | None, what: What, span: Span, joined_at: str | None = None) -> None:
        self.ended = False
        self._folder = folder
        self._what = what
        self._fields = what.fields if isinstance(what, Messages) else ()
        self._span = span
        self._joined_at = joined_at
        self._at = ""
        self._end = ""

    def chunk(self) -> list[Entry | Missed]:
        """Raises Unavailable, Invalid."""
        try:
            with closing(Reader(self._folder)) as reader:
                gone = bool(self._span.after) and not self._at and not reader.at(self._span.after)
                reader.match(self._what)
                return [Missed(0), *self._read(reader)] if gone else [*self._read(reader)]
        except OSError as error:
            raise _unreadable(error) from None

    def _read(self, reader: Reader) -> list[Entry]:
        more = _seek_after(reader, self._at) if self._at else self._begin(reader)
        limit = CHUNK if self._at else FIRST_CHUNK
        entries: list[Entry] = []
        size = 0
        while more and len(entries) < limit and size < CHUNK_BYTES:
            entry = reader.entry(self._fields)
            entries.append(entry)
            size += len(entry.message)
            self._at = entry.cursor
            more = entry.cursor != self._end and reader.next()
        self.ended = not more
        return entries

    def _begin(self, reader: Reader) -> bool:
        """Go to the first entry, having found the last; False where there is none."""
        if self._span.lines == 0 or self._joined_at == "" or not self._seek_end(reader):
            return False
        span, self._end, end = self._span, reader.cursor, reader.time
        if span.since is not None and not span.at_least and end < span.since:
            return False
        if span.after and _is_before(self._end, span.after):
            return False
        if span.after == self._end and not span.run_up:
            return False
        back = span.at_least if span.lines is None else span.lines
        if back:
            if back > 1:
                reader.previous(back - 1)
            bounded = span.lines is not None
            # the later of two beginnings where a number is a limit, the earlier where it is a promise
            late = not span.after or _is_before(span.after, reader.cursor)
            if bounded and late and (span.since is None or reader.time >= span.since):
                return True
            if not bounded and not span.after and (span.since is None or reader.time < span.since):
                return True
        if span.after and span.run_up and reader.at(span.after):
            earliest = reader.time - span.run_up
            while reader.time > earliest and reader.previous():
                pass
            return True
        if span.after:
            return _seek_after(reader, span.after) and not _is_before(self._end, reader.cursor)
        if span.since is not None:
            reader.seek_time(span.since)
        else:
            reader.seek_head()
        return reader.next()

    def _seek_end(self, reader: Reader) -> bool:
        if self._joined_at is None:
            reader.seek_tail()
        else:
            reader.seek(self._joined_at)
        if not reader.previous():
            return False
        if self._span.until is not None and reader.time > self._span.until:
            reader.seek_time(self._span.until)
            return reader.previous()
        return True


class Reader:
    """A place among the entries: sd-journal(3) through python3-systemd, which has no types. For one thread.

    The raw calls are used because `get_next` converts every field of every entry, also of those that nobody
    follows: 19 µs instead of 1.
    """

    def __init__(self, folder: Path | None) -> None:
        try:
            module: Any = importlib.import_module("systemd.journal")
        except ImportError:
            raise Unavailable(
                "logs cannot be read: systemd's Python module is not installed",
                hint="apt install python3-systemd",
            ) from None
        # user journals too: journald files what a program with a uid of its own says under that uid
        self._raw: Any = module.Reader(path=str(folder)) if folder else module.Reader(flags=module.LOCAL_ONLY)

    def close(self) -> None:
        self._raw.close()

    def match(self, what: What) -> None:
        """Only what that unit says and PID 1 says about it (anybody may write UNIT=), or these messages."""
        if isinstance(what, Messages):
            self._match(["_PID=1"], what.of_systemd)
            self._raw.add_disjunction()
            self._match(["_UID=0", "_TRANSPORT=journal"], what.of_root)
            for name, value in what.marks:
                self._raw.add_disjunction()
                for match in ("_UID=0", "_TRANSPORT=journal", f"{name}={value}"):
                    self._raw.add_match(match)
            return
        self._raw.add_match(f"_SYSTEMD_UNIT={what}")
        self._raw.add_disjunction()
        self._raw.add_match("_PID=1")
        self._raw.add_match(f"UNIT={what}")

    def _match(self, by: Iterable[str], ids: Iterable[str]) -> None:
        for match in (*by, *(f"MESSAGE_ID={id}" for id in ids)):
            self._raw.add_match(match)

    def says(self, messages: Messages) -> bool:
        """Whether the entry is one of these: the same choice as `match`."""
        id = self._field("MESSAGE_ID")
        if id in messages.of_systemd:
            return self._field("_PID") == "1"
        known = id in messages.of_root or any(self._field(name) == value for name, value in messages.marks)
        return known and self._field("_UID") == "0" and self._field("_TRANSPORT") == "journal"

    @property
    def unit(self) -> str:
        """The unit that the entry is from, or about where it is from PID 1: the same choice as `match`."""
        unit = self._field("_SYSTEMD_UNIT")
        if unit in ("", "init.scope") and self._field("_PID") == "1":
            return self._field("UNIT")
        return unit

    def watch(self) -> None:
        """Have `process` notice journal files that come and go."""
        self._raw.fileno()

    def process(self) -> None:
        self._raw.process()

    def seek_head(self) -> None:
        self._raw.seek_head()

    def seek_tail(self) -> None:
        self._raw.seek_tail()

    def seek_time(self, microseconds: int) -> None:
        self._raw.seek_realtime(microseconds)

    def seek(self, cursor: str) -> None:
        """Raises Invalid."""
        try:
            self._raw.seek_cursor(cursor)
        except ValueError:
            raise Invalid(f"{cursor!r} is no cursor", hint="take the Cursor of a line") from None

    def at(self, cursor: str) -> bool:
        """Go to that very entry; False where there is none, or `match` leaves it out. Raises Invalid."""
        self.seek(cursor)
        return self.next() and self.cursor == cursor

    def next(self) -> bool:
        return bool(self._raw._next())

    def previous(self, count: int = 1) -> bool:
        """Back by so many, or to the first; False where there is none."""
        return bool(self._raw._previous(count))

    @property
    def cursor(self) -> str:
        return str(self._raw._get_cursor())

    @property
    def time(self) -> int:
        return int(self._raw._get_realtime())

    def entry(self, fields: Iterable[str] = ()) -> Entry:
        priority, pid, program = self._field("PRIORITY"), self._field("_PID"), self._field("_COMM")
        return Entry(
            time=self.time,
            cursor=self.cursor,
            message=self._field("MESSAGE"),
            priority=int(priority) if priority.isdecimal() else 6,
            # SYSLOG_IDENTIFIER is what systemd started (podman), _COMM the program that wrote, or who did for it
            identifier=("" if program == "gear-docker" else program) or self._field("SYSLOG_IDENTIFIER"),
            pid=int(pid) if pid.isdecimal() else 0,
            fields={name: value for name in fields if (value := self._field(name))},
        )

    def _field(self, name: str) -> str:
        try:
            value: bytes = self._raw._get(name)
        except KeyError:
            return ""
        return value.decode(errors="replace")


def _seek_after(reader: Reader, cursor: str) -> bool:
    """Go to the first entry after `cursor`, whether that one is still there or not."""
    reader.seek(cursor)
    return reader.next() and (reader.cursor != cursor or reader.next())


def _is_before(one: str, other: str) -> bool:
    """Whether the entry of one cursor stands before another's: by their numbers in the journal where these were
    counted in one row, else by their times. The clock may have been set back in between.
    """
    (row, number, time), (other_row, other_number, other_time) = _place(one), _place(other)
    return number < other_number if row == other_row else time < other_time


def _place(cursor: str) -> tuple[str, int, int]:
    """What a cursor says: the row that its number is of, the number, the time in microseconds."""
    parts = {name: value for name, _, value in (part.partition("=") for part in cursor.split(";"))}
    return parts.get("s", ""), _hex(parts.get("i", "")), _hex(parts.get("t", ""))


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _unreadable(error: OSError) -> Unavailable:
    return Unavailable(
        f"cannot read the journal: {error.strerror or error}", hint="journalctl --verify looks for damage"
    )
