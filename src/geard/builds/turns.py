"""Locks that several builds wait for: one for each that may be made at once, one for each tag, one for each cache.

A lock is flock(2) on a file, held until the process has ended, however it does.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

LOOK_SECONDS = 0.2


def tag_lock(base: Path, tag: str) -> Path:
    return base / ".tags" / hashlib.sha256(tag.encode()).hexdigest()[:32]


def turn_locks(base: Path, at_once: int) -> list[Path]:
    return [base / ".turns" / str(number) for number in range(at_once)]


async def hold_one(paths: Sequence[Path], waits: Callable[[], None]) -> int:
    """The descriptor of the first of these that nobody else holds; `waits` is called once where all are held."""
    said = False
    while True:
        for path in paths:
            if (fd := _try(path)) is not None:
                return fd
        if not said:
            said = True
            waits()
        await asyncio.sleep(LOOK_SECONDS)


def _try(path: Path) -> int | None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
