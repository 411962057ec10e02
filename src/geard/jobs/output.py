"""What a job writes, kept within bounds: its beginning and its end, as records in a few files.

    output                   the first half of what may be kept
    output.000000000524288   what came later, from that place on; of these the newest two

A record is a kind (`o` or `r`, as in frames.py), a length, a time in microseconds, then so many bytes. A place is
a number of bytes of records from the first one on, so it means the same whatever has been dropped since. The
files are all there is to it: who reads needs nobody's word. Standard library only: the unit's main process stands
on this.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

HEAD = struct.Struct(">BIQ")
OUTPUT, ERRORS = ord("o"), ord("r")
FIRST = "output"
TAILS = 2
PIECE = 64 * 1024
LEAST = 16 * PIECE


class Record(NamedTuple):
    kind: int
    time: int
    """microseconds since 1970"""
    data: bytes
    missing: int = 0
    """bytes before it that are not kept"""


class Kept:
    """The writer's side: one for each job."""

    def __init__(self, folder: str, most: int) -> None:
        """At most so many bytes are on the disk, give or take a record."""
        self._folder = folder
        self._most = max(most, LEAST)
        self._fd = os.open(f"{folder}/{FIRST}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._size, self._room = 0, self._most // 2
        self.tail = self._most // (2 * TAILS)
        """bytes at the end that are there for sure"""
        self._tails: list[tuple[str, int]] = []
        self._said = 0
        """bytes of the program's in the file being written"""
        self.end = 0
        """the place behind the last record"""
        self.written = 0
        """bytes that the program wrote"""
        self.lost = 0
        """… of them not kept"""

    def add(self, kind: int, data: bytes, time: int) -> None:
        self.written += len(data)
        record = HEAD.pack(kind, len(data), time) + data
        try:
            if self._size + len(record) > self._room:
                self._go_on()
            _write(self._fd, record)
        except OSError:  # the disk is full: the program goes on, and what it says is lost
            self.lost += len(data)
            self._cut_back()
            return
        self._size += len(record)
        self._said += len(data)
        self.end += len(record)

    def close(self) -> None:
        os.close(self._fd)

    def _go_on(self) -> None:
        """In a file more; the oldest but the first goes."""
        path = f"{self._folder}/{FIRST}.{self.end:015}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if self._tails:
            self._tails[-1] = (self._tails[-1][0], self._said)
        os.close(self._fd)
        self._fd, self._size, self._said, self._room = fd, 0, 0, self.tail
        self._tails.append((path, 0))
        if len(self._tails) > TAILS:
            gone, said = self._tails.pop(0)
            os.unlink(gone)
            self.lost += said

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, self._size, os.SEEK_SET)
        except OSError:
            return


class Reader:
    """Goes through what is kept, from a place on, as far as it has been written; again when there is more."""

    def __init__(self, folder: str, place: int = 0) -> None:
        self._folder = folder
        self.place = place
        self._start = -1
        self._fd = -1

    def read(self) -> Record | None:
        """The next record; None where there is none yet."""
        missing = 0
        while True:
            if self._fd < 0 and not self._open():
                return None
            at = self.place - self._start
            head = os.pread(self._fd, HEAD.size, at)
            if len(head) == HEAD.size:
                kind, length, time = HEAD.unpack(head)
                data = os.pread(self._fd, length, at + HEAD.size)
                if len(data) < length:
                    return None
                self.place += HEAD.size + length
                return Record(kind, time, data, missing)
            later = [start for start in self._starts() if start > self._start]
            # Looked for first: what was written to this file before the next was begun is seen now.
            if len(os.pread(self._fd, HEAD.size, at)) == HEAD.size:
                continue
            if not later:
                return None
            missing += max(0, min(later) - self.place)
            self.place = max(self.place, min(later))
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> bool:
        """The file that has the place, or the first behind it."""
        starts = self._starts()
        before = [start for start in starts if start <= self.place]
        if not before:
            return False
        self._start = max(before)
        name = f"{FIRST}.{self._start:015}" if self._start else FIRST
        try:
            self._fd = os.open(f"{self._folder}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:  # dropped just now
            return self._open()
        return True

    def _starts(self) -> list[int]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        found = [name.removeprefix(f"{FIRST}.") for name in names if name.startswith(f"{FIRST}.")]
        return sorted([0] * (FIRST in names) + [int(start) for start in found if start.isdigit()])


def records(folder: str) -> Iterator[Record]:
    """All that is kept now."""
    reader = Reader(folder)
    try:
        while (record := reader.read()) is not None:
            yield record
    finally:
        reader.close()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
