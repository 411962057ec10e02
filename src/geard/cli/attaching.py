"""This terminal, or stdin, stdout and stderr, as one end of a session with a program elsewhere."""

from __future__ import annotations

import os
import select
import signal
import socket
import termios
import tty as terminals
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress

from geard.cli.detaching import Keys
from geard.exchange import (
    SIGNALS,
    WINDOW,
    Errors,
    Exit,
    Failed,
    Input,
    InputEnd,
    Output,
    Session,
    Signal,
    Size,
    Taken,
)
from geard.failures import Failure

CHUNK = 64 * 1024
AHEAD = 256 * 1024  # bytes of output that may wait for whoever reads it here
HUNG_UP = 128 + signal.SIGHUP
DETACHED = -1
"""left by keys: no program ends with that"""


def terminal_size(fd: int = 0) -> Size:
    """Of the terminal that is there; the usual one where there is none."""
    for each in (fd, 1, 2):
        with suppress(OSError):
            columns, rows = os.get_terminal_size(each)
            if rows and columns:
                return Size(rows, columns)
    return Size(24, 80)


def attach(
    session: Session,
    *,
    stdin: bool,
    tty: bool,
    files: tuple[int, int, int] = (0, 1, 2),
    detach: bytes = b"",
) -> int:
    """Be the session's terminal until the program there has ended; its exit status.

    Signals go to the program. A hang-up here ends it, and so do the keys `detach` on a terminal: DETACHED. Raises
    the Failure that the session ends with.
    """
    keys = Keys(detach if tty and os.isatty(files[0]) else b"")
    try:
        with _raw(files[0], tty), _signals() as wake:
            return _Attached(session, files, stdin=stdin, tty=tty, wake=wake, keys=keys).run()
    finally:
        session.close()


class _Attached:
    def __init__(
        self,
        session: Session,
        files: tuple[int, int, int],
        *,
        stdin: bool,
        tty: bool,
        wake: socket.socket,
        keys: Keys,
    ) -> None:
        self._session = session
        self._keys = keys
        self._stdin, stdout, stderr = files
        self._open = stdin
        self._at_terminal = os.isatty(self._stdin)
        self._tty = tty
        self._wake = wake
        self._allowed = WINDOW
        self._backlog = {stdout: deque[bytes](), stderr: deque[bytes]()}
        self._waiting = 0
        self._stdout, self._stderr = stdout, stderr
        self._end: int | Failure | None = None

    def run(self) -> int:
        while self._end is None or self._waiting:
            self._turn()
        if isinstance(self._end, Failure):
            raise self._end
        return self._end

    def _turn(self) -> None:
        reading: list[int] = [self._wake.fileno()]
        line = self._session.fileno()
        if self._end is None and self._waiting < AHEAD:
            reading.append(line)
        if self._end is None and self._open and self._allowed > 0 and not self._session.waiting:
            reading.append(self._stdin)
        writing = [fd for fd, parts in self._backlog.items() if parts]
        if self._session.waiting:
            writing.append(line)
        readable, writable, _ = select.select(reading, writing, [])
        if self._wake.fileno() in readable:
            self._heed()
        if line in readable or line in writable:
            self._hear()
        for fd in self._backlog:
            if fd in writable:
                self._write(fd)
        if self._stdin in readable:
            self._read()

    def _heed(self) -> None:
        for number in self._wake.recv(1024):
            name = signal.Signals(number)
            if name == signal.SIGWINCH and self._tty:
                self._session.say(terminal_size(self._stdin))
            elif name == signal.SIGHUP:
                self._leave(HUNG_UP)
            elif name.name.removeprefix("SIG") in SIGNALS:
                self._session.say(Signal(name.name.removeprefix("SIG")))

    def _leave(self, status: int) -> None:
        self._end, self._waiting = status, 0
        for parts in self._backlog.values():
            parts.clear()

    def _hear(self) -> None:
        try:
            heard = self._session.hear()
        except Failure as broken:  # told behind what was said before
            heard = [Failed(broken)]
        for event in heard:
            match event:
                case Output(data):
                    self._put(self._stdout, data)
                case Errors(data):
                    self._put(self._stderr, data)
                case Taken(count):
                    self._allowed += count
                case Exit(status):
                    self._end = status
                case Failed(failure):
                    self._end = failure

    def _put(self, fd: int, data: bytes) -> None:
        if data:
            self._backlog[fd].append(data)
            self._waiting += len(data)

    def _write(self, fd: int) -> None:
        """As much as is taken without waiting, whatever kind of file it is. Raises BrokenPipeError."""
        parts = self._backlog[fd]
        part = parts.popleft()
        try:
            count = os.write(fd, part[: select.PIPE_BUF])
        except BlockingIOError:
            count = 0
        except OSError:
            if fd == self._stdout:
                raise
            count = len(part)  # nobody reads what goes wrong: as if it had been read
        self._waiting -= count
        if count < len(part):
            parts.appendleft(part[count:])

    def _read(self) -> None:
        try:
            data = os.read(self._stdin, min(CHUNK, self._allowed))
        except BlockingIOError:
            return
        except OSError:  # the terminal is gone
            data = b""
        if data:
            data, left = self._keys.take(data)
            if data:
                self._allowed -= len(data)
                self._session.say(Input(data))
            if left:
                self._leave(DETACHED)
        elif self._at_terminal and not os.isatty(self._stdin):
            self._leave(HUNG_UP)  # the terminal is gone; only the first process on it is told so by a signal
        else:
            self._open = False
            self._session.say(InputEnd())


@contextmanager
def _raw(fd: int, tty: bool) -> Generator[None]:
    """A terminal that hands on every key as it is, and is as it was afterwards."""
    if not (tty and os.isatty(fd)):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        terminals.setraw(fd, termios.TCSANOW)
        yield
    finally:
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(fd, termios.TCSANOW, before)


_HEEDED = tuple(signal.Signals[f"SIG{name}"] for name in (*SIGNALS, "WINCH", "HUP"))


@contextmanager
def _signals(names: Sequence[signal.Signals] = _HEEDED) -> Generator[socket.socket]:
    """A socket on which the numbers of signals arrive, in place of what they would do. Those ignored stay so."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = {name: signal.getsignal(name) for name in names}
        wake = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            for name, handler in before.items():
                if handler != signal.SIG_IGN:
                    signal.signal(name, lambda number, frame: None)
            yield ours
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
            signal.set_wakeup_fd(wake)
