"""A layer's archive, put together from what it was made of and the files it was unpacked to.

Lines of JSON, compressed: `{"type": 2, "payload": BASE64}` is bytes of the archive, `{"type": 1, "name": …,
"size": N}` a file's contents. The names come from whoever made the image: no link is followed on the way to a
file, so nothing beside the layer is ever read.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

from geard.failures import Unavailable

CHUNK = 1 << 20

_BROKEN = (OSError, ValueError, EOFError, zlib.error, binascii.Error, KeyError, TypeError)


def size_of(split: Path) -> int:
    """Bytes of the whole archive. Raises Unavailable."""
    return sum(len(raw) if name is None else size for raw, name, size in _entries(split))


def read_layer(split: Path, root: Path, start: int, end: int) -> Generator[bytes]:
    """Bytes `start` to `end` (without it) of the archive, about a megabyte at a time. Raises Unavailable where
    the files are not what they were.
    """
    waiting = bytearray()
    for piece in _pieces(split, root, start, end):
        waiting += piece
        if len(waiting) >= CHUNK:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _pieces(split: Path, root: Path, start: int, end: int) -> Iterator[bytes]:
    at = 0
    with _Files(root) as files:
        for raw, name, size in _entries(split):
            length = len(raw) if name is None else size
            first, last = max(start - at, 0), min(end - at, length)
            if first < last:
                if name is None:
                    yield raw[first:last]
                else:
                    yield from files.read(name, size, first, last)
            at += length
            if at >= end:
                return
    raise Unavailable(f"{split} ends early: {at} bytes, not {end}")


def _entries(split: Path) -> Iterator[tuple[bytes, bytes | None, int]]:
    """Bytes, or the name of a file and its size. Raises Unavailable."""
    try:
        with gzip.open(split, "rb") as lines:
            for line in lines:
                entry = cast("dict[str, Any]", json.loads(line))
                if entry["type"] == 2:
                    yield base64.b64decode(entry["payload"] or ""), None, 0
                elif (size := int(entry.get("size") or 0)) > 0:
                    raw = entry.get("name_raw")
                    yield b"", base64.b64decode(raw) if raw else os.fsencode(str(entry["name"])), size
    except _BROKEN as error:
        raise Unavailable(f"cannot read {split}: {error}") from None


class _Files:
    """Files below a folder, by names that are not to be trusted. The folder of the last one stays open."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open = ExitStack()
        self._parent: tuple[bytes, ...] | None = None
        self._fd = -1

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self, name: bytes, size: int, first: int, last: int) -> Iterator[bytes]:
        parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
        if not parts or b".." in parts:
            raise Unavailable(f"{name!r} is no name inside a layer")
        try:
            fd = os.open(
                parts[-1],
                os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
                dir_fd=self._folder(parts[:-1]),
            )
        except OSError as error:
            raise Unavailable(f"{self._root}: {name!r} of a layer is not to be had: {error.strerror}") from None
        with open(fd, "rb", buffering=0) as file:
            if os.fstat(fd).st_size != size:
                raise Unavailable(f"{self._root}: {name!r} has not the {size} bytes it came with")
            file.seek(first)
            left = last - first
            while left:
                part = file.read(min(left, CHUNK))
                if not part:
                    raise Unavailable(f"{self._root}: {name!r} became shorter")
                left -= len(part)
                yield part

    def _folder(self, parts: tuple[bytes, ...]) -> int:
        """Raises OSError."""
        if parts != self._parent:
            self._open.close()
            self._parent, self._fd = None, -1
            fd = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            for part in parts:
                try:
                    inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                finally:
                    os.close(fd)
                fd = inner
            self._open.callback(_close, fd)
            self._parent, self._fd = parts, fd
        return self._fd


def _close(fd: int) -> None:
    with suppress(OSError):
        os.close(fd)
