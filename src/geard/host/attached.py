"""A program of this host with an asker's line for its terminal, or for its stdin, stdout and stderr."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import struct
import sys
import termios
import tty
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path

from geard.exchange import WINDOW, Errors, Input, InputEnd, Line, Output, Signal, Size, Taken
from geard.failures import Invalid, Unavailable
from geard.host import joined as joined_
from geard.host import keeper
from geard.host.process import ERROR_LIMIT, ProgramFailed

CHUNK = 64 * 1024
_END_OF_INPUT = b"\x04"  # what a terminal understands as that


def kept(argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` under a keeper: signals reach what it starts elsewhere, and both end."""
    return [sys.executable, "-IS", str(Path(keeper.__file__)), *argv]


def joined(argv: Sequence[str]) -> list[str]:
    """The same for a session that came by geard-join.socket, whose line is descriptor joined.LINE."""
    return [sys.executable, "-IS", str(Path(joined_.__file__)), *kept(argv)]


async def relay(
    argv: Sequence[str], line: Line, *, environment: Mapping[str, str], stdin: bool, terminal: Size | None
) -> int:
    """Run `argv` on `line`, on a terminal of that size if there is to be one; its exit status.

    However this ends, the program has ended. Raises Invalid where the asker does not keep to the rules.
    """
    with ExitStack() as closing:
        end = _Terminal(closing, terminal) if terminal is not None else _Pipes(closing, stdin)
        async with _started(argv, environment, end.theirs) as child:
            end.close_theirs()
            relaying = _Relay(child, line, end, deaf=not stdin)
            try:
                async with asyncio.TaskGroup() as group:
                    hearing = [group.create_task(relaying.hear()), group.create_task(relaying.feed())]
                    pumps = [group.create_task(relaying.pump(fd, kind)) for fd, kind in end.outputs]
                    await asyncio.wait(pumps)
                    await child.wait()
                    for task in hearing:
                        task.cancel()
            except BaseExceptionGroup as several:
                raise several.exceptions[0] from None
        status = child.returncode or 0
        return status if status >= 0 else 128 - status


class _Ends:
    """Our ends of what a program reads and writes, and theirs until the program has them."""

    input: int | None
    outputs: list[tuple[int, Callable[[bytes], Output | Errors]]]
    theirs: tuple[int, int, int]

    def __init__(self, closing: ExitStack) -> None:
        self._open = set[int]()
        closing.callback(self._close)
        self._given = closing.enter_context(ExitStack())

    def close_theirs(self) -> None:
        self._given.close()

    def resize(self, size: Size) -> None:
        """Only a terminal has a size."""

    def end_input(self) -> bytes:
        """What is written at the end of the input."""
        return b""

    def close_input(self) -> None:
        """The program sees its end."""
        if self.input is not None:
            self._open.discard(self.input)
            os.close(self.input)
            self.input = None

    def _ours(self, fd: int) -> int:
        self._open.add(fd)
        os.set_blocking(fd, False)
        return fd

    def _close(self) -> None:
        """Each once: a number is used again, and would be another's by then."""
        for fd in self._open:
            os.close(fd)

    def _for_them(self, fd: int) -> int:
        self._given.callback(os.close, fd)
        return fd


class _Pipes(_Ends):
    def __init__(self, closing: ExitStack, stdin: bool) -> None:
        super().__init__(closing)
        self.input, given = None, 0
        if stdin:
            given, ours = os.pipe()
            self.input = self._ours(ours)
        else:
            given = os.open(os.devnull, os.O_RDONLY)
        self._for_them(given)
        out, errors = self._pipe(), self._pipe()
        self.outputs = [(out[0], Output), (errors[0], Errors)]
        self.theirs = given, out[1], errors[1]

    def _pipe(self) -> tuple[int, int]:
        ours, given = os.pipe()
        return self._ours(ours), self._for_them(given)


class _Terminal(_Ends):
    def __init__(self, closing: ExitStack, size: Size) -> None:
        super().__init__(closing)
        master, slave = os.openpty()
        self.input = self._ours(master)
        self._for_them(slave)
        # Raw from the start: what is typed ahead is for the terminal inside the container, which does the echo.
        tty.setraw(slave)
        self.resize(size)
        self.outputs = [(master, Output)]
        self.theirs = slave, slave, slave

    def resize(self, size: Size) -> None:
        assert self.input is not None
        fcntl.ioctl(self.input, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))

    def end_input(self) -> bytes:
        return _END_OF_INPUT


class _Relay:
    def __init__(self, child: asyncio.subprocess.Process, line: Line, ends: _Ends, *, deaf: bool) -> None:
        self._child = child
        self._line = line
        self._ends = ends
        self._deaf = deaf
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._on_its_way = 0

    async def hear(self) -> None:
        """Never waits for the program: a signal must not stand behind input that is not read."""
        while True:
            match await self._line.hear():
                case Input(data):
                    self._on_its_way += len(data)
                    if self._on_its_way > WINDOW:
                        raise Invalid(f"more than {WINDOW} bytes of input are on their way")
                    self._input.put_nowait(data)
                case InputEnd():
                    self._input.put_nowait(None)
                case Size() as size:
                    self._ends.resize(size)
                    _signal(self._child, signal.SIGWINCH)
                case Signal(name):
                    _signal(self._child, signal.Signals[f"SIG{name}"])

    async def feed(self) -> None:
        while (data := await self._input.get()) is not None:
            await self._write(data)
            self._on_its_way -= len(data)
            await self._line.say(Taken(len(data)))
        await self._write(self._ends.end_input())
        if not isinstance(self._ends, _Terminal):
            self._ends.close_input()

    async def _write(self, data: bytes) -> None:
        if not self._deaf and self._ends.input is not None:
            with contextlib.suppress(OSError):  # it reads no more: what is said to it is lost, as in any pipe
                await _write(self._ends.input, data)

    async def pump(self, fd: int, kind: Callable[[bytes], Output | Errors]) -> None:
        while data := await _read(fd):
            await self._line.say(kind(data))


async def output_of(
    argv: Sequence[str], environment: Mapping[str, str], given: AsyncGenerator[bytes] | None = None
) -> AsyncGenerator[bytes]:
    """What a program writes, as it comes and no faster than it is taken; left early, the program is ended. It
    reads what is `given`, and is ended where that breaks off; what it does not read is taken all the same.

    Raises ProgramFailed behind it, where that ended badly; what `given` raises.
    """
    with ExitStack() as closing:
        ends = _Pipes(closing, stdin=given is not None)
        said = os.memfd_create("errors")
        closing.callback(os.close, said)
        stdin, stdout, _ = ends.theirs
        async with _started(argv, environment, (stdin, stdout, said)) as child:
            ends.close_theirs()
            feeding = asyncio.create_task(_feed(child, ends, given))
            try:
                while data := await _read(ends.outputs[0][0]):
                    yield data
                status = await child.wait()
                await feeding
            finally:
                feeding.cancel()
                await asyncio.wait({feeding})
        if status:
            raise ProgramFailed(argv, status, os.pread(said, ERROR_LIMIT, 0).decode(errors="replace"))


async def _feed(child: asyncio.subprocess.Process, ends: _Ends, given: AsyncGenerator[bytes] | None) -> None:
    if given is None:
        return
    try:
        async with aclosing(given):
            async for piece in given:
                try:
                    if ends.input is not None:
                        await _write(ends.input, piece)
                except OSError:
                    ends.close_input()  # who sends this hears the answer when they have sent it all
    except BaseException:
        _signal(child, signal.SIGHUP)
        raise
    ends.close_input()


@asynccontextmanager
async def _started(
    argv: Sequence[str], environment: Mapping[str, str], files: tuple[int, int, int]
) -> AsyncGenerator[asyncio.subprocess.Process]:
    stdin, stdout, stderr = files
    try:
        child = await asyncio.create_subprocess_exec(
            *kept(argv), stdin=stdin, stdout=stdout, stderr=stderr, env={**os.environ, **environment}
        )
    except OSError as error:
        raise Unavailable(f"cannot start {argv[0]}: {error.strerror}") from None
    try:
        yield child
    finally:
        await _end(child)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Have the keeper end the program; whoever is cancelled once more does not wait for its grace."""
    loop = asyncio.get_running_loop()
    until = loop.time() + keeper.GRACE + 2
    _signal(child, signal.SIGHUP)
    while child.returncode is None:
        try:
            async with asyncio.timeout_at(until):
                await child.wait()
        except asyncio.CancelledError:
            _signal(child, signal.SIGHUP)
            until = min(until, loop.time() + 2)
        except TimeoutError:
            _signal(child, signal.SIGKILL)
            await child.wait()


def _signal(child: asyncio.subprocess.Process, name: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(name)


async def _read(fd: int) -> bytes:
    """What there is to read, waiting for some; empty at the end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, CHUNK)
        except BlockingIOError:
            with _watching(loop.add_reader, loop.remove_reader, fd) as ready:
                await ready
        except OSError as error:
            if error.errno == errno.EIO:  # how a terminal says that nobody holds its other end
                return b""
            raise


async def _write(fd: int, data: bytes) -> None:
    """Raises OSError where nobody reads."""
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            with _watching(loop.add_writer, loop.remove_writer, fd) as ready:
                await ready


@contextmanager
def _watching(
    add: Callable[..., object], remove: Callable[[int], object], fd: int
) -> Generator[asyncio.Future[None]]:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        yield ready
    finally:
        remove(fd)
