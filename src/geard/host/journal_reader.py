"""Entries of the journal, as sd-journal(3) has them, one place at a time."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geard.failures import Invalid, Unavailable


@dataclass(frozen=True, slots=True)
class Entry:
    time: int
    """microseconds since 1970"""
    cursor: str
    """its name for good; starting after it gives what followed"""
    message: str
    """bytes that are no UTF-8 are replaced"""
    priority: int = 6
    identifier: str = ""
    """the program that wrote it"""
    pid: int = 0
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """what else was asked for, by the journal's names (systemd.journal-fields(7))"""

    def only_names(self, unit: str) -> bool:
        """Whether it is what podman prints into a gear's log when it has made its container: that one's name."""
        return self.identifier == "podman" and self.message == unit.removesuffix(".service")


@dataclass(frozen=True, slots=True)
class Missed:
    """So many entries came that this follower could not be given; 0 where the journal itself has lost them: it
    does not have the entry any more after which was asked, and nobody knows how many followed.
    """

    count: int


@dataclass(frozen=True)
class Messages:
    """Entries by what they say: the MESSAGE_ID that systemd's catalog, and geard, give each kind of message.

    Anybody may write any of them, so it counts who journald says has written it.
    """

    of_systemd: frozenset[str]
    """believed where PID 1 says it"""
    of_root: frozenset[str]
    """believed where root of this host says it, by an entry of its own and not by a line of its output"""
    marks: frozenset[tuple[str, str]] = frozenset()
    """a field and its value, in place of a MESSAGE_ID, of programs that give none; believed as `of_root`"""
    fields: tuple[str, ...] = ()
    """to be read beside the message"""


What = str | Messages
"""Entries of which unit, or of which kinds."""


class Reader:
    """A place among the entries: sd-journal(3) through python3-systemd, which has no types. For one thread.

    The raw calls are used because `get_next` converts every field of every entry, also of those that nobody
    follows: 19 µs instead of 1.
    """

    def __init__(self, folder: Path | None) -> None:
        try:
            module: Any = importlib.import_module("systemd.journal")
        except ImportError:
            raise Unavailable(
                "logs cannot be read: systemd's Python module is not installed",
                hint="apt install python3-systemd",
            ) from None
        # user journals too: journald files what a program with a uid of its own says under that uid
        self._raw: Any = module.Reader(path=str(folder)) if folder else module.Reader(flags=module.LOCAL_ONLY)

    def close(self) -> None:
        self._raw.close()

    def match(self, what: What) -> None:
        """Only what that unit says and PID 1 says about it (anybody may write UNIT=), or these messages."""
        if isinstance(what, Messages):
            self._match(["_PID=1"], what.of_systemd)
            self._raw.add_disjunction()
            self._match(["_UID=0", "_TRANSPORT=journal"], what.of_root)
            for name, value in what.marks:
                self._raw.add_disjunction()
                for match in ("_UID=0", "_TRANSPORT=journal", f"{name}={value}"):
                    self._raw.add_match(match)
            return
        self._raw.add_match(f"_SYSTEMD_UNIT={what}")
        self._raw.add_disjunction()
        self._raw.add_match("_PID=1")
        self._raw.add_match(f"UNIT={what}")

    def _match(self, by: Iterable[str], ids: Iterable[str]) -> None:
        for match in (*by, *(f"MESSAGE_ID={id}" for id in ids)):
            self._raw.add_match(match)

    def says(self, messages: Messages) -> bool:
        """Whether the entry is one of these: the same choice as `match`."""
        id = self._field("MESSAGE_ID")
        if id in messages.of_systemd:
            return self._field("_PID") == "1"
        known = id in messages.of_root or any(self._field(name) == value for name, value in messages.marks)
        return known and self._field("_UID") == "0" and self._field("_TRANSPORT") == "journal"

    @property
    def unit(self) -> str:
        """The unit that the entry is from, or about where it is from PID 1: the same choice as `match`."""
        unit = self._field("_SYSTEMD_UNIT")
        if unit in ("", "init.scope") and self._field("_PID") == "1":
            return self._field("UNIT")
        return unit

    def watch(self) -> None:
        """Have `process` notice journal files that come and go."""
        self._raw.fileno()

    def process(self) -> None:
        self._raw.process()

    def seek_head(self) -> None:
        self._raw.seek_head()

    def seek_tail(self) -> None:
        self._raw.seek_tail()

    def seek_time(self, microseconds: int) -> None:
        self._raw.seek_realtime(microseconds)

    def seek(self, cursor: str) -> None:
        """Raises Invalid."""
        try:
            self._raw.seek_cursor(cursor)
        except ValueError:
            raise Invalid(f"{cursor!r} is no cursor", hint="take the Cursor of a line") from None

    def at(self, cursor: str) -> bool:
        """Go to that very entry; False where there is none, or `match` leaves it out. Raises Invalid."""
        self.seek(cursor)
        return self.next() and self.cursor == cursor

    def next(self) -> bool:
        return bool(self._raw._next())

    def previous(self, count: int = 1) -> bool:
        """Back by so many, or to the first; False where there is none."""
        return bool(self._raw._previous(count))

    @property
    def cursor(self) -> str:
        return str(self._raw._get_cursor())

    @property
    def time(self) -> int:
        return int(self._raw._get_realtime())

    def entry(self, fields: Iterable[str] = ()) -> Entry:
        priority, pid, program = self._field("PRIORITY"), self._field("_PID"), self._field("_COMM")
        return Entry(
            time=self.time,
            cursor=self.cursor,
            message=self._field("MESSAGE"),
            priority=int(priority) if priority.isdecimal() else 6,
            # SYSLOG_IDENTIFIER is what systemd started (podman), _COMM the program that wrote, or who did for it
            identifier=("" if program == "gear-docker" else program) or self._field("SYSLOG_IDENTIFIER"),
            pid=int(pid) if pid.isdecimal() else 0,
            fields={name: value for name in fields if (value := self._field(name))},
        )

    def _field(self, name: str) -> str:
        try:
            value: bytes = self._raw._get(name)
        except KeyError:
            return ""
        return value.decode(errors="replace")


def unreadable(error: OSError) -> Unavailable:
    return Unavailable(
        f"cannot read the journal: {error.strerror or error}", hint="journalctl --verify looks for damage"
    )
