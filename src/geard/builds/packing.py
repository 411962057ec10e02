"""A source that is here, sent to the machine that builds: a tar goes over the line, and is nowhere as a whole."""

from __future__ import annotations

import os
import sys
import tarfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from geard.builds.requests import SendSource
from geard.cli.asking import session
from geard.copying.programs import carry
from geard.failures import Denied, Invalid
from geard.identifiers import Place

TOP = "src"
"""the folder with all in it, as in archives that forges make"""


def send_source(where: Place, id: str, source: Path | None) -> None:
    """A folder or an archive; None for what comes by standard input. Raises Failure."""
    talk, stop = session.transport(where).send(SendSource(id=id)), threading.Event()
    if source is None or source.is_file():
        try:
            fd = sys.stdin.fileno() if source is None else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Denied(f"{source}: {error.strerror}") from None
        carry(talk, os.dup(fd) if source is None else fd, stop, out=False)
        return
    read, write = os.pipe()
    with ThreadPoolExecutor(1) as threads:
        packed: Future[None] = threads.submit(pack, source, write)
        carry(talk, read, stop, out=False)  # closes its end, whatever comes of it
        packed.result()


def pack(folder: Path, fd: int) -> None:
    """Its files, folders and links, as a tar. Raises Denied, Invalid."""
    with suppress(BrokenPipeError), open(fd, "wb") as out:
        try:
            with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                tar.add(folder, TOP, filter=_plain)
        except BrokenPipeError:
            raise
        except (OSError, tarfile.TarError) as error:
            what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise Denied(f"cannot read {what}") from None


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Devices, pipes and sockets are left out, and whose it was."""
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def check_sendable(text: str, ref: str) -> tuple[Path, str]:
    """A path of this machine, and which folder of it is built (`PATH#:FOLDER`). Raises Invalid."""
    path, _, behind = text.partition("#")
    wanted, _, folder = behind.partition(":")
    if wanted or ref:
        raise Invalid(
            f"{path} is sent as it is, without a ref", hint="git archive REF | gear build - BASE TAG --at HOST"
        )
    return Path(path), folder
