"""Entries in the journal with fields of their own, by journald's socket (systemd.io/JOURNAL_NATIVE_PROTOCOL).

Never waits: what journald does not take at once goes to stderr as a plain line, as all does where none listens.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping

from geard.host import fields

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "gear"
# of syslog(3), by Python's levels
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
_LENGTH = struct.Struct("<Q")


def encode(entry: Mapping[str, str]) -> bytes:
    """One datagram. A value of several lines has its length before it, so no value can add a field."""
    parts: list[bytes] = []
    for name, text in entry.items():
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            parts += [name.encode(), b"\n", _LENGTH.pack(len(value)), value, b"\n"]
        else:
            parts += [name.encode(), b"=", value, b"\n"]
    return b"".join(parts)


class JournalWriter:
    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._line: socket.socket | None = None

    def send(self, entry: Mapping[str, str]) -> bool:
        """Whether journald has it."""
        try:
            if self._line is None:
                self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._line.setblocking(False)
            self._line.sendto(encode(entry), self._path)
        except OSError:  # nobody listens, its queue is full, or the entry is too large for one datagram
            return False
        return True

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


class JournalHandler(logging.Handler):
    """Python's log records as entries of the journal."""

    def __init__(self, path: str = SOCKET) -> None:
        super().__init__()
        self._writer = JournalWriter(path)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            if not self._writer.send(entry_of(record, text)):
                print(text, file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 - as every handler of logging's
            self.handleError(record)

    def close(self) -> None:
        self._writer.close()
        super().close()


def entry_of(record: logging.LogRecord, text: str) -> dict[str, str]:
    own: Mapping[str, str] = getattr(record, "fields", {})
    return {
        **fields.current(),
        **own,
        "MESSAGE": text,
        "PRIORITY": str(next(number for level, number in _PRIORITIES if record.levelno >= level)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
    }


def handler() -> logging.Handler:
    """The journal where it is what stderr leads to ($JOURNAL_STREAM, systemd.exec(5)); stderr otherwise."""
    return JournalHandler() if stderr_is_journal() else logging.StreamHandler(sys.stderr)


def stderr_is_journal() -> bool:
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
