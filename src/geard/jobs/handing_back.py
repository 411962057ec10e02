"""At the terminal: the files that a job hands back, into a folder or as the archive they come in."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from geard.failures import Invalid, Unavailable
from geard.jobs.requests import GetArtifacts
from geard.transport import Transport


class _Pieces:
    """An archive as it comes, to be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (part := next(self._pieces, b"")):
            self._rest += part
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def write(transport: Transport, id: str, file: BinaryIO) -> None:
    for piece in _pieces(transport, id):
        file.write(piece)
    file.flush()


def unpack(transport: Transport, id: str, folder: str) -> None:
    """Into a folder, made where it is not there. Raises Invalid, Unavailable."""
    try:
        os.makedirs(folder, exist_ok=True)
        files = cast(BinaryIO, _Pieces(_pieces(transport, id)))
        with tarfile.open(fileobj=files, mode="r|") as archive:
            # "data": what would leave the folder, or be anything but files, folders and links, is refused.
            archive.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise Unavailable(f"the archive of job {id} cannot be read: {error}") from None
    except OSError as error:
        raise Invalid(f"cannot write into {folder}: {error.strerror}") from None


def _pieces(transport: Transport, id: str) -> Iterator[bytes]:
    items = transport.send(GetArtifacts(id=id))
    try:
        for item in items:
            yield item.data
    finally:
        items.close()
