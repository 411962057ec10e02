"""What a job's program writes and reads, at its main process' end of the pipes, or of the terminal. Standard
library only.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import struct
import termios
import time
from collections import deque
from collections.abc import Callable
from tty import setraw
from typing import Any

from geard.jobs.output import ERRORS, OUTPUT, PIECE, Kept

END_OF_INPUT = b"\x04"
"""what a terminal understands as that"""


class Outputs:
    """What it writes, kept as it comes; `news` is called whenever there is more."""

    def __init__(self, selector: selectors.BaseSelector, kept: Kept, news: Callable[[], None]) -> None:
        self.kinds: dict[int, int] = {}
        """descriptors the program writes to -> kind of record"""
        self._selector, self._kept, self._news = selector, kept, news
        self._paused = False

    def open(self, input: Input, *, tty: bool, stdin: bool) -> tuple[int, int, int]:
        """The three files that the program is to have."""
        if tty:
            ours, theirs = os.openpty()
            setraw(theirs)  # what is typed ahead is for the terminal inside the container, which does the echo
            input.open(ours, terminal=True)
            self.watch(os.dup(ours), OUTPUT)
            return theirs, theirs, theirs
        source, ours = os.pipe()
        if stdin:
            input.open(ours, terminal=False)
        else:
            os.close(ours)  # a pipe, not /dev/null: crun gives that to the job's user (its issue 1845)
        out, errors = os.pipe(), os.pipe()
        self.watch(out[0], OUTPUT)
        self.watch(errors[0], ERRORS)
        return source, out[1], errors[1]

    def watch(self, fd: int, kind: int) -> None:
        os.set_blocking(fd, False)
        self.kinds[fd] = kind
        self._selector.register(fd, selectors.EVENT_READ)

    def read(self, fd: int) -> bool:
        """Some of what there is; whether there was any."""
        try:
            data = os.read(fd, PIECE)
        except BlockingIOError:
            return False
        except OSError:  # how a terminal says that nobody holds its other end
            data = b""
        if not data:
            self._unwatch(fd)
            return False
        self._kept.add(self.kinds[fd], data, _now())
        self._news()
        return True

    def say(self, text: str) -> None:
        """As if the program had written it."""
        self._kept.add(ERRORS, text.encode(), _now())

    def drain(self) -> None:
        """What the program wrote before it ended: nobody else writes there by now."""
        for fd in list(self.kinds):
            while fd in self.kinds and self.read(fd):
                pass
        for fd in list(self.kinds):
            self._unwatch(fd)
        self._paused = False

    def hold_back(self, pause: bool) -> None:
        """Read no more, or go on."""
        if pause == self._paused:
            return
        self._paused = pause
        for fd in self.kinds:
            if pause:
                self._selector.unregister(fd)
            else:
                self._selector.register(fd, selectors.EVENT_READ)

    def _unwatch(self, fd: int) -> None:
        del self.kinds[fd]
        if not self._paused:
            self._selector.unregister(fd)
        os.close(fd)


class Input:
    """What it reads, of whoever says it; `taken` is told of whose so many bytes it has read."""

    def __init__(self, selector: selectors.BaseSelector, taken: Callable[[Any, int], None]) -> None:
        self.fd = -1
        self.terminal = False
        self._selector, self._tell = selector, taken
        self._parts: deque[bytes] = deque()
        self._whose: deque[tuple[Any, int]] = deque()
        self._over = False

    def open(self, fd: int, *, terminal: bool) -> None:
        os.set_blocking(fd, False)
        self.fd, self.terminal = fd, terminal

    def add(self, body: bytes, whose: object) -> None:
        self._parts.append(body)
        self._whose.append((whose, len(body)))
        self.write()

    def end(self) -> None:
        if self.terminal:
            self._parts.append(END_OF_INPUT)
        self._over = True
        self.write()

    def write(self) -> None:
        if self.fd < 0:
            return
        while self._parts:
            part = self._parts[0]
            try:
                count = os.write(self.fd, part)
            except BlockingIOError:
                self._wait(True)
                return
            except OSError:  # it reads no more: what is said to it is lost, as in any pipe
                count = len(part)
            self._taken(count)
            if count < len(part):
                self._parts[0] = part[count:]
            else:
                self._parts.popleft()
        self._wait(False)
        if self._over and not self.terminal:
            os.close(self.fd)
            self.fd = -1

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _wait(self, wait: bool) -> None:
        registered = self.fd in self._selector.get_map()
        if wait and not registered:
            self._selector.register(self.fd, selectors.EVENT_WRITE)
        elif registered and not wait:
            self._selector.unregister(self.fd)

    def _taken(self, count: int) -> None:
        while count and self._whose:
            whose, size = self._whose[0]
            part = min(count, size)
            self._tell(whose, part)
            count -= part
            if part < size:
                self._whose[0] = (whose, size - part)
            else:
                self._whose.popleft()


def _now() -> int:
    return time.time_ns() // 1_000
