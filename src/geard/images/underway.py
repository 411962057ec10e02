"""How far pulls are: `/run/geard/pulls/KEY.bytes`, which gear-pull writes, and locks meanwhile."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from geard.failures import Invalid
from geard.host.paths import Paths
from geard.images.requests import UnderWay
from geard.words import decode


def underway(paths: Paths) -> Iterator[UnderWay]:
    for path in sorted((paths.run / "pulls").glob("*.bytes")):
        if (found := read(path)) is not None:
            yield found


def read(path: Path) -> UnderWay | None:
    """None where nobody is at it: a pull that was killed has left it, and its lock is gone."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with suppress(Invalid):
                return decode(UnderWay, file.read().strip())
    return None
