"""A source that is here, sent to the machine that builds: a tar goes over the line, and is nowhere as a whole."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from geard.builds.requests import SendSource
from geard.cli.asking import session
from geard.copying import archive
from geard.copying.failing import failure_of
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
    """As a tar: what is no file, folder or link is left out, and whose it was. Raises Failure."""
    with suppress(BrokenPipeError), open(fd, "wb") as out:
        try:
            archive.pack(str(folder), TOP, out, lambda _: None, owner=archive.Owner(0, 0))
        except archive.Refused as refused:
            if refused.kind != "Left":
                raise failure_of(refused.kind, refused.message, refused.hint) from None


def check_sendable(text: str, ref: str) -> tuple[Path, str]:
    """A path of this machine, and which folder of it is built (`PATH#:FOLDER`). Raises Invalid."""
    path, _, behind = text.partition("#")
    wanted, _, folder = behind.partition(":")
    if wanted or ref:
        raise Invalid(
            f"{path} is sent as it is, without a ref", hint="git archive REF | gear build - BASE TAG --at HOST"
        )
    return Path(path), folder
