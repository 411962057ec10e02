"""One copy, as `gear` does it: a tar goes from one end to the other, and is nowhere as a whole."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from io import RawIOBase

import click

from geard.cli.asking import session
from geard.cli.output import printable
from geard.containers.sizes import show_size
from geard.copying.archive import SET_ID, Refused, kind_of, pack, unpack
from geard.copying.failing import LeftError, failure_of
from geard.copying.places import Goal, Side, plan_goal
from geard.copying.programs import carry, perform
from geard.copying.requests import CopyIn, CopyOut, DescribeCopy, LookAtFile
from geard.failures import Denied, Invalid, NotFound

CHUNK = 64 * 1024
_TICK = 0.2
_PATIENCE = 1.0

End = Callable[[int], int]
"""Given its end of a pipe, its own from then on, it reads or writes all: how many files, -1 where not counted."""


def copy(of: Side, to: Side) -> None:
    """Raises Failure."""
    for side, file in ((of, sys.stdin), (to, sys.stdout)):
        if side.streams and file.isatty():
            raise Invalid("a tar is nothing for a terminal", hint="gear cp NAME:/PATH - >FILE")
    of, to = _whole(of), _whole(to)
    goal, meter, stop = _goal(of, to), _Meter(), threading.Event()
    read, write = _reader(of, goal, meter, stop), _writer(to, goal, meter, stop)
    source, out = os.pipe()
    with ThreadPoolExecutor(2) as threads:
        try:
            ends = [threads.submit(read, out), threads.submit(write, source)]
            meter.watch(ends)
        finally:
            stop.set()
    files = _outcome(ends)
    if not to.streams:
        amount = f"{files} {'file' if files == 1 else 'files'} " if files >= 0 else ""
        click.echo(f"{amount}copied to {printable(str(to))}")


def _outcome(ends: list[Future[int]]) -> int:
    """The number of files. Raises what went wrong first: the other end fails of that."""
    failed = [error for end in ends if (error := end.exception()) is not None]
    for error in sorted(failed, key=lambda error: isinstance(error, LeftError)):
        raise error
    return max(end.result() for end in ends)


def _whole(side: Side) -> Side:
    """A path of this machine from its root; what its end says of it stays."""
    if side.gear is not None or side.streams:
        return side
    end = "/." if side.path.rstrip("/").endswith("/.") or side.path.rstrip("/") == "." else ""
    return Side(os.path.abspath(side.path) + (end or ("/" if side.path.endswith("/") else "")))


def _goal(of: Side, to: Side) -> Goal:
    if of.streams:
        return Goal(to.path, "")
    if to.streams:
        return Goal("", "." if of.path.endswith("/.") else "")
    return plan_goal(of, to, _kind(to))


def _kind(side: Side) -> str | None:
    """What is at that place."""
    if side.gear is None:
        try:
            return kind_of(os.stat(side.path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Denied(f"{side.path}: {error.strerror}") from None
    try:
        return session.transport(side.gear.at).send(LookAtFile(id=side.gear.id, path=side.path)).kind
    except NotFound as missing:
        if not missing.message.startswith("/"):  # not the file, but the gear
            raise
        return None


def _reader(side: Side, goal: Goal, meter: _Meter, stop: threading.Event) -> End:
    if side.gear is not None:
        return _asked(side, CopyOut(id=side.gear.id, path=side.path, name=goal.name), stop)

    def read(out: int) -> int:
        with open(out, "wb", buffering=0) as file:
            if side.streams:
                return _pass(sys.stdin.fileno(), out, meter, stop)
            with _refused_told():
                return pack(side.path, goal.name, _Counted(file, meter), _remark)

    return read


def _writer(side: Side, goal: Goal, meter: _Meter, stop: threading.Event) -> End:
    if side.gear is not None:
        return _asked(side, CopyIn(id=side.gear.id, path=goal.folder), stop)

    def write(source: int) -> int:
        with open(source, "rb", buffering=0) as file:
            if side.streams:
                return _pass(source, sys.stdout.fileno(), meter, stop)
            # No file that runs with its owner's rights: a gear has made it, and who copies would own it.
            with _refused_told():
                return unpack(_Counted(file, meter), goal.folder, _remark, mask=0o7777 & ~SET_ID)

    return write


def _asked(side: Side, request: CopyOut | CopyIn, stop: threading.Event) -> End:
    assert side.gear is not None
    transport, out = session.transport(side.gear.at), isinstance(request, CopyOut)
    if session.in_process(side.gear.at):
        line = transport.send(DescribeCopy(of=request))
        return lambda fd: _remarked(perform(line, fd, stop, out=out))
    talk = transport.send(request)
    return lambda fd: _remarked(carry(talk, fd, stop, out=out))


def _remarked(remarks: list[str]) -> int:
    for each in remarks:
        _remark(each)
    return -1


def _remark(text: str) -> None:
    click.echo(printable(text), err=True)


@contextmanager
def _refused_told() -> Generator[None]:
    try:
        yield
    except Refused as refused:
        raise failure_of(refused.kind, refused.message, refused.hint) from None


def _pass(source: int, out: int, meter: _Meter, stop: threading.Event) -> int:
    try:
        while not stop.is_set():
            if not select.select([source], [], [], _TICK)[0]:
                continue  # it may be that nothing ever comes
            part = os.read(source, CHUNK)
            if not part:
                return -1
            meter.count += len(part)
            while part:
                part = part[os.write(out, part) :]
    except BrokenPipeError:
        pass
    raise LeftError("who it was for has left")


class _Meter:
    """Says on a terminal how much has gone, while it goes."""

    def __init__(self) -> None:
        self.count = 0

    def watch(self, ends: list[Future[int]]) -> None:
        until, shown = time.monotonic() + _PATIENCE, False
        while wait_for(ends, timeout=_TICK).not_done:
            if sys.stderr.isatty() and self.count and time.monotonic() > until:
                shown = True
                print(f"\r{show_size(self.count)}\x1b[K", end="", file=sys.stderr, flush=True)
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _Counted:
    """One end of a pipe. All of what is written is written."""

    def __init__(self, file: RawIOBase, meter: _Meter) -> None:
        self._file = file
        self._meter = meter

    def read(self, count: int) -> bytes:
        part = self._file.read(count) or b""
        self._meter.count += len(part)
        return part

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]
        self._meter.count += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""
