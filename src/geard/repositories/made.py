"""How a repository came to be: by which request, and what it is still to be filled from.

So that whoever asks again, since nobody said that it was made, is no stranger to it: `git-users/1000.made`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from geard.host.storage import read_text

TURN_SECONDS = 0.2


@dataclass(frozen=True)
class Made:
    request: str
    source: str = ""
    """empty as well when it has been filled"""

    @property
    def text(self) -> str:
        return f"{self.request}\n{self.source}\n"

    @classmethod
    def read(cls, path: Path) -> Made:
        request, _, source = (read_text(path) or "").partition("\n")
        return cls(request, source.removesuffix("\n"))

    def goes_on(self, there: Made) -> bool:
        """Whether asking for this is to go on with what is there."""
        return self.request == there.request or (bool(self.source) and self.source == there.source)


@asynccontextmanager
async def filling(path: Path) -> AsyncGenerator[bool]:
    """One at a time; whether it is still to be filled. When this ends well it has been."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False  # deleted
        return
    try:
        while not _locked(fd):  # noqa: ASYNC110 - another process may hold it
            await asyncio.sleep(TURN_SECONDS)
        made = Made.read(path)
        yield bool(made.source)
        if made.source:
            await asyncio.to_thread(_filled, path, made)
    finally:
        os.close(fd)


def _filled(path: Path, made: Made) -> None:
    """In place: whoever waits holds this very file."""
    with suppress(FileNotFoundError), open(path, "r+", encoding="utf-8") as file:
        file.truncate(len(made.request) + 1)
        os.fsync(file.fileno())


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
