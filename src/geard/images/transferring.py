"""This side of `gear save` and `gear load`: a file, and a program here or a session there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from geard.cli.attaching import attach
from geard.exchange import Session
from geard.failures import Invalid, Unavailable

Line = Callable[[], Session]


def receive(file: str, *, argv: Sequence[str] = (), line: Line | None = None) -> int:
    """Write what comes to `file`, which is there once it is whole. Raises Failure."""
    with _written(file) as fd:
        _check(argv, line, (_nothing(), fd, 2), stdin=False)
    return 0


def send(file: str, *, argv: Sequence[str] = (), line: Line | None = None) -> int:
    """Hand `file` over; what was loaded is said on standard output. Raises Failure."""
    with _read(file) as fd:
        _check(argv, line, (fd, 1, 2), stdin=True)
    return 0


def _check(argv: Sequence[str], line: Line | None, files: tuple[int, int, int], *, stdin: bool) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    if line is not None:
        status = attach(line(), stdin=stdin, tty=False, files=files)
    else:
        try:
            status = subprocess.run(argv, stdin=files[0], stdout=files[1], stderr=files[2], check=False).returncode
        except OSError as error:
            raise Unavailable(f"{argv[0]} cannot be run: {error.strerror}") from None
    if status:
        raise Unavailable(f"the engine ended with {status}", hint="what it says is above")


def _nothing() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _read(file: str) -> Generator[int]:
    if file == "-":
        if os.isatty(0):
            raise Invalid("an archive does not come from a terminal", hint="gear load -i FILE")
        yield 0
        return
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from None
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _written(file: str) -> Generator[int]:
    """A draft beside `file`, put in its place in the end. What is no plain file is written to as it is."""
    if file == "-":
        if os.isatty(1):
            raise Invalid("an archive is nothing to look at", hint="gear save IMAGE -o FILE")
        yield 1
        return
    plain = not os.path.exists(file) or os.path.isfile(file)
    draft = f"{file}.{os.urandom(4).hex()}.part" if plain else file
    try:
        flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if plain else 0)
        fd = os.open(draft, flags, 0o600)
    except OSError as error:
        raise Invalid(f"cannot write {file}: {error.strerror}") from None
    try:
        try:
            yield fd
            if plain:
                os.fsync(fd)
        finally:
            os.close(fd)
        if plain:
            os.rename(draft, file)
    except BaseException as error:
        if plain:
            with contextlib.suppress(OSError):
                os.unlink(draft)
        if isinstance(error, OSError):
            raise Unavailable(f"cannot write {file}: {error.strerror}", hint="df -h") from None
        raise
