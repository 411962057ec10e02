"""What a login runs: a shell, a command for one, or what sftp wants. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from geard.sessions.sftp_server import SERVERS

# A gear without bash has sh; a gear without sh has no shell.
SHELL = ("/bin/sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash -l; fi; exec /bin/sh -l")
# The image's own, where the engine lends a gear no files of the host.
SFTP = (
    *("/bin/sh", "-c"),
    'for each do [ -x "$each" ] && exec "$each"; done;'
    ' echo "gear: this gear has no sftp-server: its image may have scp (scp -O), or tar; gear cp needs none" >&2;'
    " exit 127",
    *("sftp", *SERVERS),
)
# sshd says which program it would run itself for the subsystem sftp.
_SUBSYSTEM = re.compile(r"(\S*/sftp-server|internal-sftp)( -\S+( [^- ]\S*)?)*")
_TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,62}")


def program(command: str | None) -> tuple[str, tuple[str, ...]]:
    """What it is called, and the words of it."""
    if command is None:
        return "shell", SHELL
    if _SUBSYSTEM.fullmatch(command):
        return "sftp", SFTP
    return "command", ("/bin/sh", "-c", command)


def variables(term: str, *, tty: bool) -> Mapping[str, str]:
    """Nothing of what a client would set arrives but what kind of terminal it has."""
    return {"TERM": term} if tty and _TERM.fullmatch(term) else {}
