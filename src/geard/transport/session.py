"""A session with a program on an agent's machine, over a connection that has ceased to be HTTP."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from geard.exchange import FromAsker, ToAsker
from geard.failures import Invalid, Unavailable
from geard.frames import encode, to_asker

CHUNK = 64 * 1024
# When the other machine is gone without a word, TCP finds out in about a minute.
_IDLE, _INTERVAL, _COUNT = 30, 10, 3


def keep_watch(connection: socket.socket) -> None:
    """Have TCP notice an end that has vanished: a session may be silent for days."""
    if connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _COUNT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class HttpSession:
    """See `Session`. `connection` is this session's alone; `name` is what answers there."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        keep_watch(connection)
        connection.setblocking(False)
        self._connection = connection
        self._name = name
        self._out = bytearray()
        self._decoder = to_asker()

    def fileno(self) -> int:
        return self._connection.fileno()

    @property
    def waiting(self) -> bool:
        # What came in one record of TLS with the answer's head was read from the line already: select(2) does not
        # tell of it, but finds the line writable.
        pending = isinstance(self._connection, ssl.SSLSocket) and self._connection.pending() > 0
        return bool(self._out) or pending

    def say(self, event: FromAsker) -> None:
        self._out += encode(event)
        self._flush()

    def hear(self) -> list[ToAsker]:
        self._flush()
        try:
            data = self._connection.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return []
        except OSError:
            data = b""
        if not data:
            raise Unavailable(f"the connection to {self._name} broke", hint="what ran there was ended")
        try:
            return self._decoder.feed(data)
        except Invalid as failure:
            raise Unavailable(
                f"cannot understand {self._name}: {failure.message}", hint="is it of another version?"
            ) from None

    def close(self) -> None:
        self._connection.close()

    def _flush(self) -> None:
        with suppress(
            OSError
        ):  # a broken connection is seen when reading: what was said before its end comes first
            while self._out:
                del self._out[: self._connection.send(self._out)]
