"""The one place that starts programs. Arguments are lists; nothing goes through a shell.

A failure carries the program's last words and the line to repeat it by hand. Of one program so many run at once:
five hundred questions must not be five hundred podmans.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from geard.failures import TimedOut, Unavailable

ERROR_LIMIT = 4_000
AT_ONCE = 8
PIECE = 64 * 1024

_turns = WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Semaphore]]()


class ProgramFailed(Unavailable):
    """A program ended with a status other than 0. On the wire its kind is Unavailable."""

    def __init__(self, argv: Sequence[str], status: int, errors: str) -> None:
        last = errors.strip().splitlines()[-1] if errors.strip() else f"status {status}"
        super().__init__(f"{argv[0]} failed: {last}", hint=f"to see it again: {shlex.join(argv)}")
        self.status = status
        self.errors = errors

    @property
    def kind(self) -> str:
        return "Unavailable"


@dataclass(frozen=True)
class Finished:
    status: int
    output: str
    errors: str


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes | socket.socket | None = None,
    timeout: float = 60,
    check: bool = True,
) -> Finished:
    """Run a program to its end; `timeout` in seconds from its start, after which it is killed. It reads `stdin`:
    these bytes, or what comes by this socket.

    Raises ProgramFailed (with `check`), TimedOut, or Unavailable where there is no such program.
    """
    async with _turn(argv[0]):
        finished = await _run(argv, stdin, timeout)
    if check and finished.status != 0:
        raise ProgramFailed(argv, finished.status, finished.errors[-ERROR_LIMIT:])
    return finished


async def follow(
    argv: Sequence[str],
    heard: Callable[[bytes], None],
    *,
    stdout: int | None = None,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a program to its end, however long it takes; its status. `heard` gets what it prints, as it comes: its
    errors alone where its output goes to the file `stdout`. `environment` is added to ours. Cancelled, it kills.

    Raises Unavailable where there is no such program.
    """
    reader, writer = os.pipe()
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=writer if stdout is None else stdout,
            stderr=writer,
            env={**os.environ, **(environment or {})},
        )
    except OSError as error:
        os.close(reader)
        raise Unavailable(f"{argv[0]} cannot be run: {error.strerror}") from None
    finally:
        os.close(writer)
    try:
        if child.stdin is not None:
            child.stdin.write(stdin)
            child.stdin.close()
        await _hear(reader, heard)
        return await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def _hear(reader: int, heard: Callable[[bytes], None]) -> None:
    loop = asyncio.get_running_loop()
    stream = asyncio.StreamReader(limit=PIECE)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reader, "rb", buffering=0)
    )
    try:
        while piece := await stream.read(PIECE):
            heard(piece)
    finally:
        transport.close()


def _turn(program: str) -> asyncio.Semaphore:
    mine = _turns.setdefault(asyncio.get_running_loop(), defaultdict(lambda: asyncio.Semaphore(AT_ONCE)))
    return mine[program]


async def _run(argv: Sequence[str], stdin: bytes | socket.socket | None, timeout: float) -> Finished:
    source, given = asyncio.subprocess.DEVNULL, None
    if isinstance(stdin, bytes):
        source, given = asyncio.subprocess.PIPE, stdin
    elif stdin is not None:
        source = stdin.fileno()
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise Unavailable(f"{argv[0]} is not installed", hint="gear setup says what this host lacks") from None
    except OSError as error:
        raise Unavailable(f"{argv[0]} cannot be run: {error.strerror}") from None
    try:
        output, errors = await asyncio.wait_for(child.communicate(given), timeout)
    except TimeoutError:
        raise TimedOut(f"{argv[0]} did not end within {timeout:g} s", hint=shlex.join(argv)) from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return Finished(child.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace"))
