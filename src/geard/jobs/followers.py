"""Who follows a job: the door beside its order, and a line to each who came in. Standard library only.

to here     h JSON   {"Driver": true}: nothing is written faster than this one reads
            p place  so far it has read; the rest as in frames.py is not ours, and handed on
from here   n place  there is more, up to there; t count of input bytes taken; x it has ended: read `result`
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
from collections.abc import Callable

from geard.jobs.output import PIECE, Kept

FRAME = struct.Struct(">BI")
PLACE = struct.Struct(">Q")
COUNT = struct.Struct(">I")
FRAME_LIMIT = 64 * 1024
MOST = 64


class Follower:
    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.heard = bytearray()
        self.out = bytearray()
        self.driver = False
        self.place = 0
        self.told = -1


class Followers:
    def __init__(
        self,
        selector: selectors.BaseSelector,
        kept: Kept,
        hear: Callable[[Follower, str, bytes], None],
        moved: Callable[[], None],
    ) -> None:
        """`hear`: what one says to the job. `moved`: one has read on, or left."""
        self._selector, self._kept, self._hear_job, self._moved = selector, kept, hear, moved
        self._all: list[Follower] = []

    def listen(self, path: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{path}.tmp")
        os.chmod(f"{path}.tmp", 0o600)
        listener.listen(16)
        os.rename(f"{path}.tmp", path)  # who finds it is heard
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        return listener

    def accept(self, listener: socket.socket) -> None:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        if len(self._all) >= MOST:
            line.close()
            return
        line.setblocking(False)
        follower = Follower(line)
        self._all.append(follower)
        self._selector.register(line, selectors.EVENT_READ, follower)

    def slowest(self) -> int:
        """How far whoever drives the job has read."""
        return min((each.place for each in self._all if each.driver), default=self._kept.end)

    def converse(self, one: Follower, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(one)
        if not events & selectors.EVENT_READ or one not in self._all:
            return
        try:
            data = one.line.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave(one)
            return
        one.heard += data
        while len(one.heard) >= FRAME.size and one in self._all:
            kind, length = FRAME.unpack_from(one.heard)
            if length > FRAME_LIMIT:
                self._leave(one)
                return
            if len(one.heard) < FRAME.size + length:
                return
            body = bytes(one.heard[FRAME.size : FRAME.size + length])
            del one.heard[: FRAME.size + length]
            try:
                self._hear(one, chr(kind), body)
            except (struct.error, ValueError, AttributeError):  # it does not keep to the rules
                self._leave(one)

    def tell_of_news(self) -> None:
        for each in list(self._all):
            self._tell(each)

    def tell_the_end(self) -> None:
        for each in list(self._all):
            self._say(each, b"x", b"")

    def tell_taken(self, one: Follower, count: int) -> None:
        self._say(one, b"t", COUNT.pack(count))

    def _hear(self, one: Follower, kind: str, body: bytes) -> None:
        if kind == "h":
            one.driver = bool(json.loads(body).get("Driver"))
            self._tell(one)
        elif kind == "p":
            (one.place,) = PLACE.unpack(body)
            self._moved()
            self._tell(one)
        else:
            self._hear_job(one, kind, body)

    def _tell(self, one: Follower) -> None:
        """That there is more; once, until it has read so far."""
        if self._kept.end > one.place and one.told <= one.place:
            one.told = self._kept.end
            self._say(one, b"n", PLACE.pack(self._kept.end))

    def _say(self, one: Follower, kind: bytes, body: bytes) -> None:
        one.out += FRAME.pack(kind[0], len(body)) + body
        self._flush(one)

    def _flush(self, one: Follower) -> None:
        if one not in self._all:
            return
        try:
            while one.out:
                del one.out[: one.line.send(one.out)]
        except BlockingIOError:
            pass
        except OSError:
            self._leave(one)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if one.out else 0)
        self._selector.modify(one.line, events, one)

    def _leave(self, one: Follower) -> None:
        if one in self._all:
            self._all.remove(one)
            self._selector.unregister(one.line)
            one.line.close()
            self._moved()
