"""Records of requests on this machine, shared by all who do requests here: the agent, and each `gear` by itself.

One that is at work is `/run/geard/requests/ID`, with flock(2) on it for as long as somebody is: so an id is done
by one process, others see what it does, and the kernel lets go for one that is killed. Ended, it moves to
`/var/lib/containers/requests/ID`, behind everything else and without a sync: what a power cut takes is done again
by who asks again, which is harmless. Where a record cannot be written, the request is done without one.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from geard.dispatch.record import Heading, Line, Record, decode_lines, encode_line, parse_record
from geard.failures import Conflict, Unavailable
from geard.host.paths import Paths
from geard.host.storage import Changes
from geard.request import Asker, Request
from geard.words import builtins_of

log = logging.getLogger(__name__)

KEY_BYTES = 32
LOOK_SECONDS = 0.05
"""how often somebody who waits for another process's request looks whether it says more"""
NOT_KEPT_LIMIT = 1_000
"""ended records in /run, where the disk takes none"""


class Hold:
    """A record that is ours to write: while it is open nobody else does that request."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self.path = path

    def add(self, line: Line) -> None:
        try:
            os.write(self._fd, encode_line(line))
        except OSError as error:
            log.warning("cannot write %s: %s", self.path, error.strerror)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """It never was: the id is free again."""
        with suppress(OSError):
            os.unlink(self.path)
        self.close()


@dataclass(frozen=True)
class Claim:
    """What became of asking for an id.

    | record | hold | |
    |---|---|---|
    | none | set | it is new and ours to do; without a hold, where no record can be written |
    | ended | none | what came of it |
    | not ended | set | whoever did it was killed; ours to go on with |
    | not ended | none | another process is at it |
    """

    record: Record | None
    hold: Hold | None


class Records:
    def __init__(self, paths: Paths) -> None:
        self._live = f"{paths.run}/requests"
        self._kept = f"{paths.base}/requests"
        self._key = b""

    def heading(self, request: Request[Any], asker: Asker, id: str) -> Heading:
        return Heading(
            id=id,
            who=asker.identity,
            by=asker.name,
            kind=type(request).__name__,
            what=request.line()[:300],
            digest=hashlib.blake2b(_words(request), key=self._machine_key(), digest_size=16).hexdigest(),
            at=time.time(),
            repeatable=request.repeatable,
            secret_answer=request.secret_answer,
        )

    def claim(self, heading: Heading) -> Claim:
        """Make that id ours, or find what there is of it. Raises Conflict where it belongs to another question."""
        path = f"{self._live}/{heading.id}"
        while True:
            try:
                hold = self._create(path, heading)
            except OSError as error:
                log.warning("requests are done without a record: %s: %s", self._live, error.strerror)
                return Claim(_same(self._read_kept(heading.id), heading), None)
            if hold is not None:
                # Looked at when the name is ours: a moment before, it may have been on its way from there to here.
                try:
                    return self._after(hold, heading)
                except BaseException:
                    hold.discard()
                    raise
            found = self._join(path, heading)
            if found is not None:
                return found

    def _after(self, hold: Hold, heading: Heading) -> Claim:
        known = _same(self._read_kept(heading.id), heading)
        if known is None:
            return Claim(None, hold)
        if known.ended is not None:
            hold.discard()
            return Claim(known, None)
        for line in _lines_of(known):  # cut short before this boot
            hold.add(line)
        return Claim(known, hold)

    def _create(self, path: str, heading: Heading) -> Hold | None:
        """The record, new; None where there is one. It has its name only when it is whole and locked."""
        draft = f"{self._live}/.{heading.id}.{os.urandom(4).hex()}.tmp"
        fd = _new_file(draft, os.O_RDWR | os.O_EXCL | os.O_APPEND)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, encode_line(Line(heading=heading)))
            os.link(draft, path)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, FileExistsError):
                return None
            raise
        finally:
            os.unlink(draft)
        return Hold(fd, path)

    def _join(self, path: str, heading: Heading) -> Claim | None:
        """What there is under that name; None where it has just gone."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            free = _lock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink == 0:
                return None
            record = _same(parse_record(_read(fd)), heading)
            if record is not None and record.ended is None and free:
                claim, fd = Claim(record, Hold(fd, path)), -1
                return claim
            return Claim(record, None)
        finally:
            if fd >= 0:
                os.close(fd)

    async def follow(self, id: str, *, patience: float = 0.0) -> AsyncGenerator[Line]:
        """Every line behind the heading, those that come too, to its end, or where nobody has been at it for so
        many seconds. None where there is no such record.
        """
        file = self._open(id)
        if file is None:
            return
        with file as fd:
            rest, at, left_at = b"", 0, None
            while True:
                free = _lock(fd, fcntl.LOCK_SH)  # first: what is said until it is let go is read below
                if free:
                    fcntl.flock(fd, fcntl.LOCK_UN)
                more = _read(fd, at)
                at += len(more)
                whole, newline, rest = (rest + more).rpartition(b"\n")
                for line in decode_lines(whole + newline):
                    if line.heading is None:
                        yield line
                    if line.ended is not None:
                        return
                if not free:
                    left_at = None
                elif left_at is None:
                    left_at = time.monotonic()
                if left_at is not None and time.monotonic() - left_at >= patience:
                    return
                await asyncio.sleep(LOOK_SECONDS)

    def find(self, id: str) -> tuple[Record, bool] | None:
        """The record, and whether a process is at it. The id must have been checked (`parse_request_id`)."""
        with suppress(FileNotFoundError, NotADirectoryError), _opened(f"{self._live}/{id}") as fd:
            held = not _lock(fd, fcntl.LOCK_SH)
            record = parse_record(_read(fd))
            if record is not None:
                return record, held
        record = self._read_kept(id)
        return (record, False) if record is not None else None

    def all(self) -> list[tuple[Record, bool]]:
        """Every record, the latest last. Blocks for as long as it takes to read them."""
        names = {*_names(self._live), *_names(self._kept)}
        found = [each for name in names if (each := self.find(name)) is not None]
        return sorted(found, key=lambda each: each[0].heading.at)

    def left(self) -> list[tuple[Record, Hold]]:
        """What killed processes left, the earliest first; it is ours now. What had ended is put away."""
        found: list[tuple[Record, Hold]] = []
        for name in _names(self._live, drafts=True):
            path = f"{self._live}/{name}"
            try:
                fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            record = parse_record(_read(fd)) if _lock_soon(fd) else None
            hold = Hold(fd, path)
            if name.startswith("."):
                if record is not None:
                    hold.discard()
            elif record is not None and record.ended is None:
                found.append((record, hold))
                continue
            elif record is not None:
                self.put_away([name])
            hold.close()
        return sorted(found, key=lambda each: each[0].heading.at)

    def put_away(self, ids: Iterable[str]) -> None:
        """Move records that have ended to the disk; of one that has not, a copy is left there. Blocks."""
        for id in ids:
            try:
                with _opened(f"{self._live}/{id}") as fd:
                    data = _read(fd)
                self._keep(id, data)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("cannot keep what came of requests in %s: %s", self._kept, error.strerror)
                self._forget_some()
                return
            record = parse_record(data)
            if record is None or record.ended is not None:
                with suppress(FileNotFoundError):
                    os.unlink(f"{self._live}/{id}")

    def make_durable(self, heading: Heading) -> None:
        """Have it on disk, synced, that this was begun. Raises OSError. Blocks."""
        with Changes() as changes:
            changes.folder(Path(self._kept), 0o700)
            changes.write(Path(self._kept, heading.id), encode_line(Line(heading=heading)), 0o600)

    def sweep(self, keep_seconds: float, keep_bytes: int) -> None:
        """Remove what is kept beyond that, and nothing that has not ended. Blocks."""
        entries: list[tuple[str, float, int]] = []
        under_way = {"key", *_names(self._live)}
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._kept) as found:
            for entry in found:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.name not in under_way:
                        entries.append((entry.name, status.st_mtime, status.st_blocks * 512))
        for name in plan_sweep(entries, time.time(), keep_seconds, keep_bytes):
            with suppress(OSError):
                os.unlink(f"{self._kept}/{name}")

    def _forget_some(self) -> None:
        """The disk takes nothing: the oldest that have ended go, so that they do not fill the machine's memory."""
        ended = [name for name in _names(self._live) if (f := self.find(name)) is not None and not f[1]]
        oldest = sorted(ended, key=lambda name: _changed_at(f"{self._live}/{name}"))
        for name in oldest[: max(0, len(oldest) - NOT_KEPT_LIMIT)]:
            with suppress(FileNotFoundError):
                os.unlink(f"{self._live}/{name}")

    def _open(self, id: str) -> _File | None:
        for folder in (self._live, self._kept, self._live):  # once more: it may be on its way from there to here
            with suppress(FileNotFoundError, NotADirectoryError):
                return _File(f"{folder}/{id}")
        return None

    def _read_kept(self, id: str) -> Record | None:
        try:
            with _opened(f"{self._kept}/{id}") as fd:
                record = parse_record(_read(fd))
        except OSError:
            return None
        if record is not None and record.ended is None and not record.heading.repeatable:
            record.ended, record.failure = record.heading.at, cut_for_good(record)
        return record

    def _keep(self, id: str, data: bytes) -> None:
        fd = _new_file(f"{self._kept}/{id}", os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def _machine_key(self) -> bytes:
        """Of this machine alone: without it, who has a digest of short words could find those by trying."""
        while not self._key:
            try:
                self._key = self._stored_key()
            except OSError as error:
                log.warning("requests cannot be joined by other processes: %s/key: %s", self._kept, error.strerror)
                self._key = os.urandom(KEY_BYTES)
        return self._key

    def _stored_key(self) -> bytes:
        path = Path(self._kept, "key")
        if not path.exists():
            draft = Path(f"{path}.{os.urandom(4).hex()}.tmp")
            with Changes() as changes:
                changes.folder(path.parent, 0o700)
                changes.write(draft, os.urandom(KEY_BYTES), 0o600)
                with suppress(FileExistsError):  # another process was first
                    os.link(draft, path)
                changes.remove(draft)
        return path.read_bytes()


def plan_sweep(
    entries: Iterable[tuple[str, float, int]], now: float, keep_seconds: float, keep_bytes: int
) -> list[str]:
    """Which of `entries` (name, when it was last changed, bytes) go: those past their time, then the oldest until
    the others fit.
    """
    gone: list[str] = []
    room = keep_bytes
    for name, changed, size in sorted(entries, key=lambda entry: entry[1], reverse=True):
        room -= size
        if changed < now - keep_seconds or room < 0:
            gone.append(name)
    return gone


def cut_for_good(record: Record) -> Unavailable:
    """Why a request that cannot be repeated has failed."""
    return Unavailable(
        f"{record.heading.what} was cut short and may be half done; it is not begun again by itself",
        hint="look at what came of it, then ask again with a new id",
    )


def cut_behind_the_answer(heading: Heading) -> Unavailable:
    """… which was answered, and did not put on record what it had yet to do."""
    return Unavailable(
        f"{heading.what} was answered, then cut short; what was to follow may be half done",
        hint="look at what came of it; asking again with a new id does it again",
    )


def conflict(id: str) -> Conflict:
    return Conflict(f"request id {id} was used for something else", hint="take a new id for a new question")


def _words(request: Request[Any]) -> bytes:
    """All words of a request, the same for the same ones."""
    words = builtins_of(request)
    try:
        return msgspec.json.encode(words, order="sorted")
    except UnicodeEncodeError:  # a command line is bytes
        return repr(words).encode(errors="surrogatepass")


def _same(record: Record | None, heading: Heading) -> Record | None:
    if record is not None and not record.heading.same(heading):
        raise conflict(heading.id)
    return record


def _lines_of(record: Record) -> Iterator[Line]:
    if record.answered:
        yield Line(answer=record.answer, withheld=record.withheld, owed=record.owed, lost=record.lost)
    for step in record.steps:
        yield Line(step=step)


class _File:
    """A record opened for reading; a context that gives its descriptor."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _new_file(path: str, flags: int) -> int:
    """Opened and made, its folder too."""
    flags |= os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.makedirs(os.path.dirname(path), 0o700)
        return os.open(path, flags, 0o600)


def _opened(path: str) -> _File:
    """Raises FileNotFoundError."""
    return _File(path)


def _lock(fd: int, kind: int) -> bool:
    """Take that lock if it is free; whether it was."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_soon(fd: int) -> bool:
    """Who waits for a record looks whether it is free by taking its lock, for a moment."""
    for _ in range(5):
        if _lock(fd, fcntl.LOCK_EX):
            return True
        time.sleep(0.002)
    return False


def _read(fd: int, start: int = 0) -> bytes:
    data = bytearray()
    while piece := os.pread(fd, 1 << 16, start + len(data)):
        data += piece
    return bytes(data)


def _names(folder: str, *, drafts: bool = False) -> list[str]:
    try:
        return [
            n for n in os.listdir(folder) if n != "key" and (drafts or not n.startswith(".")) and n[:4] != "key."
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _changed_at(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0
