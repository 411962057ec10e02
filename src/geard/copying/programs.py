"""The program that reads or writes inside a gear, run here or at the other end of a session. Its remarks are given
back; it reads or writes `fd`, which is its own.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import threading

from geard.copying.failing import LeftError, failure, remarks
from geard.copying.requests import CopyLine
from geard.exchange import WINDOW, Errors, Exit, Failed, Input, InputEnd, Output, Session, Taken
from geard.failures import Unavailable

_CHUNK = 64 * 1024
_TICK = 0.2


def perform(line: CopyLine, fd: int, stop: threading.Event, *, out: bool) -> list[str]:
    """Run it here. Raises Failure."""
    with tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(
                line.argv,
                stdin=subprocess.DEVNULL if out else fd,
                stdout=fd if out else subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, **line.environment},
            )
        except OSError as error:
            raise Unavailable(f"cannot run {line.argv[0]}: {error.strerror}") from None
        finally:
            os.close(fd)
        while (status := _ended(child)) is None:
            if stop.is_set():
                child.terminate()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if status:
        raise failure(said, status)
    return remarks(said, status)


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    try:
        return child.wait(_TICK)
    except subprocess.TimeoutExpired:
        return None


def carry(session: Session, fd: int, stop: threading.Event, *, out: bool) -> list[str]:
    """Carry what goes between, until it has ended there. Raises Failure."""
    carrying = _Carrying(session, fd, out)
    try:
        while not carrying.ended and not stop.is_set():
            carrying.turn()
        return remarks(carrying.errors.decode(errors="replace"), 0)
    finally:
        session.close()
        os.close(fd)


class _Carrying:
    def __init__(self, session: Session, fd: int, out: bool) -> None:
        self._session = session
        self._fd = fd
        self._reads = not out
        self._allowed = WINDOW
        self.errors = bytearray()
        self.ended = False

    def turn(self) -> None:
        line, waits = self._session.fileno(), self._session.waiting
        reads = self._reads and self._allowed and not waits
        readable, writable, _ = select.select(
            [line, self._fd] if reads else [line], [line] if waits else [], [], _TICK
        )
        if line in readable or line in writable:
            self._hear()
        if self._fd in readable and not self.ended:
            self._say()

    def _say(self) -> None:
        data = os.read(self._fd, min(_CHUNK, self._allowed))
        self._allowed -= len(data)
        self._reads = bool(data)
        self._session.say(Input(data) if data else InputEnd())

    def _hear(self) -> None:
        for event in self._session.hear():
            match event:
                case Output(data):
                    self._write(data)
                case Errors(data):
                    self.errors += data
                case Taken(count):
                    self._allowed += count
                case Exit():  # another status than 0 comes as a failure
                    self.ended = True
                case Failed(failed):
                    raise failed

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            raise LeftError("who it was for has left") from None
