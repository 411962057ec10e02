"""Sessions that are open: a file for each, /run/geard/sessions/PID, locked by the keeper that holds it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from geard.host.paths import Paths
from geard.sessions.requests import OpenSession


def folder(paths: Paths) -> Path:
    return paths.run / "sessions"


def note(paths: Paths, facts: Mapping[str, str]) -> dict[str, str]:
    """The variable by which a keeper lists its session."""
    told = {"Since": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
    return {"GEARD_SESSION": f"{folder(paths)}\n{json.dumps(told)}"}


def opened(paths: Paths) -> list[OpenSession]:
    """The oldest first. What a killed keeper left is no session, and goes."""
    found: list[OpenSession] = []
    for path in folder(paths).glob("[0-9]*"):
        with suppress(OSError, ValueError), open(path, "rb") as file:
            if _is_free(file.fileno()):
                os.unlink(path)
                continue
            facts = json.load(file)
            found.append(
                OpenSession(
                    session=int(path.name),
                    id=facts["Gear"],
                    since=facts["Since"],
                    by=facts["By"],
                    source=facts["Source"],
                    program=facts["Program"],
                    tty=facts["Tty"] == "yes",
                )
            )
    return sorted(found, key=lambda session: (session.since, session.session))


def _is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
