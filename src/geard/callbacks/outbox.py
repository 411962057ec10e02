"""The outbox on disk: `callbacks/outbox/REQUESTID`, one file for each callback that has not been delivered."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from geard.callbacks.requests import Callback, State
from geard.failures import Conflict, Full, Invalid, NotFound
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, sweep
from geard.identifiers import parse_request_id
from geard.words import Word, decode, encode

LIMIT = 1_000
"""of callbacks that wait; beyond it no further one is promised"""
DEAD_LIMIT = 1_000
"""of dead ones; beyond it the oldest is forgotten"""


class Entry(Word):
    """What stands in a file. Times are RFC 3339, `next_try` seconds since 1970."""

    id: str
    url: str
    what: str
    asker: str
    accepted: str
    secret_answer: bool = False
    ended: str = ""
    body: str = ""
    """what is sent; empty while the operation runs"""
    tries: int = 0
    next_try: float = 0
    problem: str = ""
    dead: bool = False

    @property
    def state(self) -> State:
        return "dead" if self.dead else "waiting" if self.body else "running"


@dataclass(frozen=True)
class _Read:
    signature: tuple[int, int, int]
    entry: Entry


class Outbox:
    """For any number of processes and threads: each change is made under the folder's lock."""

    def __init__(self, paths: Paths) -> None:
        self.folder = paths.base / "callbacks" / "outbox"
        self._known: dict[str, _Read] = {}

    def entries(self) -> list[Entry]:
        """All of them, the oldest first. Only what has changed is read again."""
        found: dict[str, _Read] = {}
        with suppress(FileNotFoundError):
            for file in os.scandir(self.folder):
                if not file.name.startswith("."):
                    with suppress(FileNotFoundError, Invalid):  # removed just now; damaged: nobody's to send
                        found[file.name] = self._look(file)
        self._known = found
        return sorted((read.entry for read in found.values()), key=lambda entry: (entry.accepted, entry.id))

    def _look(self, file: os.DirEntry[str]) -> _Read:
        status = os.stat(file.path)
        signature = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._known.get(file.name)
        if known is not None and known.signature == signature:
            return known
        return _Read(signature, decode(Entry, Path(file.path).read_bytes()))

    def get(self, id: str) -> Entry:
        """Raises NotFound."""
        found = self._read(id)
        if found is None:
            raise NotFound(
                f"there is no callback for request {id} here",
                hint="what was delivered is forgotten; gear callback list shows what was not",
            )
        return found

    def promise(self, entry: Entry) -> Entry:
        """Keep `entry`, or the one that is there for its request. Raises Conflict for one with another URL."""
        with self._held() as changes:
            known = self._read(entry.id)
            if known is None:
                changes.write(self._path(entry.id), encode(entry), 0o600)
            elif known.url != entry.url:
                raise Conflict(
                    f"request id {entry.id} was used with another callback",
                    hint="take a new id for a new question",
                )
        return known or entry

    def change(self, id: str, change: Callable[[Entry], Entry]) -> Entry:
        """Raises NotFound: who removed it meanwhile wants nobody told."""
        with self._held() as changes:
            entry = change(self.get(id))
            changes.write(self._path(id), encode(entry), 0o600)
        return entry

    def remove(self, id: str) -> bool:
        """False where it was not there."""
        with self._held() as changes:
            return changes.remove(self._path(id))

    @contextmanager
    def _held(self) -> Generator[Changes]:
        with Changes() as changes:
            changes.folder(self.folder.parent, 0o700)
            changes.folder(self.folder, 0o700)
            with locked(self.folder):
                sweep(self.folder)
                yield changes

    def _read(self, id: str) -> Entry | None:
        with suppress(FileNotFoundError):
            return decode(Entry, self._path(id).read_bytes())
        return None

    def _path(self, id: str) -> Path:
        return self.folder / parse_request_id(id)


def check_room(entries: list[Entry]) -> None:
    """Raises Full."""
    if sum(not entry.dead for entry in entries) >= LIMIT:
        raise Full(
            f"{LIMIT} callbacks wait to be delivered", hint="gear callback list shows them; ask without, or later"
        )


def surplus(entries: list[Entry]) -> list[Entry]:
    """The dead ones that are forgotten, `entries` being the oldest first."""
    dead = [entry for entry in entries if entry.dead]
    return dead[: max(0, len(dead) - DEAD_LIMIT)]


def shown(entry: Entry, *, body: bool = False) -> Callback:
    return Callback(
        id=entry.id,
        url=entry.url,
        state=entry.state,
        what=entry.what,
        asker=entry.asker,
        accepted=entry.accepted,
        ended=entry.ended,
        tries=entry.tries,
        next=rfc3339(entry.next_try) if entry.state == "waiting" else "",
        problem=entry.problem,
        body=entry.body if body else "",
    )


def rfc3339(seconds: float) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
