"""The files that a job hands back, as a tar archive that is made while it is read.

They were written by somebody who may want to trick whoever reads them: nothing here follows a link, opens a
device, or believes a name. Folders and files go in, and links that stay inside; all belong to root, none is
set-uid.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator

PIECE = 256 * 1024
ENTRIES = 100_000
_END = b"\0" * 2 * tarfile.BLOCKSIZE


def archive(folder: str, most: int) -> Iterator[bytes]:
    """Raises OSError where there is no such folder. What is beyond `most` bytes, or ENTRIES, is left out."""
    left, entries = most, ENTRIES
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    for head, fd, size in _walk(top, ""):
        entries -= 1
        if entries < 0 or size > left:
            if fd >= 0:
                os.close(fd)
            continue
        left -= size
        yield head.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if fd >= 0:
            yield from _contents(fd, size)
    yield _END


def _walk(at: int, path: str) -> Iterator[tuple[tarfile.TarInfo, int, int]]:
    """What is in the open folder, closed at the end: a head each, and of a file its descriptor and size."""
    try:
        for name in sorted(os.listdir(at)):
            try:
                found = os.lstat(name, dir_fd=at)
                inner = f"{path}{name}"
                if stat.S_ISDIR(found.st_mode):
                    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                    yield _head(inner + "/", found, tarfile.DIRTYPE), -1, 0
                    yield from _walk(below, inner + "/")
                elif stat.S_ISREG(found.st_mode):
                    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
                    found = os.fstat(fd)
                    if not stat.S_ISREG(found.st_mode):
                        os.close(fd)
                        continue
                    head = _head(inner, found, tarfile.REGTYPE)
                    head.size = found.st_size
                    yield head, fd, found.st_size
                elif stat.S_ISLNK(found.st_mode):
                    target = os.readlink(name, dir_fd=at)
                    if stays_inside(inner, target):
                        head = _head(inner, found, tarfile.SYMTYPE)
                        head.linkname = target
                        yield head, -1, 0
            except OSError:  # gone, or something else by now
                continue
    finally:
        os.close(at)


def stays_inside(path: str, target: str) -> bool:
    """Whether a link at `path` leads to something below the top, whatever the links on its way. Pure."""
    if target.startswith("/") or not target:
        return False
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return whole != ".." and not whole.startswith("../")


def _head(path: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    head = tarfile.TarInfo(path)
    head.type, head.mode, head.mtime = kind, found.st_mode & 0o777, int(found.st_mtime)
    return head


def _contents(fd: int, size: int) -> Iterator[bytes]:
    """So many bytes, whatever becomes of the file meanwhile, up to a whole block."""
    with open(fd, "rb") as file:
        left = size
        while left:
            data = file.read(min(PIECE, left)) or b"\0" * min(PIECE, left)
            left -= len(data)
            yield data
    if size % tarfile.BLOCKSIZE:
        yield b"\0" * (tarfile.BLOCKSIZE - size % tarfile.BLOCKSIZE)
