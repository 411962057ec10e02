"""The journal, read: a page of old entries, then new ones as they come, for any number of followers.

Old entries are read in chunks by threads that hold nothing between two chunks, so a client that reads
slowly costs no thread. New ones are read once, whoever follows what (journal_tail).

Between the page and the following there is neither a gap nor an overlap: a page ends at the very entry at
which the follower joined. A follower that cannot keep up catches up from the journal itself, and is told the
number of entries it missed where they are too many for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from geard.host.journal_reader import Entry, Messages, Missed, Reader, What, unreadable
from geard.host.journal_tail import Follower, Tail
from geard.host.journal_writing import JournalWriter

FIRST_CHUNK = 100  # what is wanted soon
CHUNK = 1_000
CHUNK_BYTES = 1 << 20  # of messages; the entry that goes beyond is the last
CATCH_UP = 100_000  # entries that a follower was too slow for and may still read


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
        self._tail: Tail | None = None

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
        follower = Follower(what)
        tail = self._tail = self._tail or Tail(self._folder)
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
            raise unreadable(error) from None

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
