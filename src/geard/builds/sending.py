"""Sources that were sent here for a build: tar archives, kept until one takes them, an hour at most.

builds/.sources/ID      has its name only when all of it has come: who is killed in the middle leaves nothing
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from geard.builds import records
from geard.containers.sizes import show_size
from geard.exchange import Input, InputEnd, Line, Taken
from geard.failures import AlreadyExists, Invalid, Unavailable
from geard.host.paths import Paths
from geard.host.storage import Changes

KEEP_SECONDS = 3_600


async def receive(paths: Paths, id: str, line: Line, *, limit: int, spare: int) -> int:
    """Take what comes until its end. Raises Invalid where it is too much, Unavailable where the disk gets full."""
    at = records.sent(paths, id)
    with Changes() as changes:
        changes.folder(records.base(paths), 0o700)
        changes.folder(at.parent, 0o700)
    folder, size = os.open(at.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), 0
    fd = os.open(at.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        while True:
            match await line.hear():
                case Input(data):
                    size += len(data)
                    _check_room(at.parent, size, limit, spare)
                    _write(fd, data)
                    await line.say(Taken(len(data)))
                case InputEnd():
                    break
                case _:
                    continue
        os.fsync(fd)
        try:
            # With a folder's descriptor alone Python asks for linkat(2), which follows that link (3.13).
            os.link(f"/proc/self/fd/{fd}", id, dst_dir_fd=folder)
        except FileExistsError:
            raise AlreadyExists(f"there is a source {id} already", hint="another name") from None
    finally:
        os.close(fd)
        os.close(folder)
    return 0


def tidy(paths: Paths, at: float | None = None) -> None:
    """Those that no build has taken within an hour go."""
    oldest = (time.time() if at is None else at) - KEEP_SECONDS
    folder = records.sources(paths)
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _check_room(folder: Path, size: int, limit: int, spare: int) -> None:
    if size > limit:
        raise Invalid(
            f"the source is larger than {show_size(limit)}", hint="source-limit under [builds] in geard.toml"
        )
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < spare:
        raise Unavailable(f"less than {show_size(spare)} is left on the disk of images")


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
