"""Where nss-systemd is missing, and records are read by nobody: the same users in /etc/passwd, by useradd(8).

Standard library only, as records.py.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from geard.accounts.records import KINDS, LOGINS, SHELL

MARK = "local-users"
"""the file in /run/geard that says: here it is so"""


@dataclass(frozen=True)
class LocalUser:
    login: str
    uid: int


def records_are_read(nsswitch: str) -> bool:
    """Whether name look-ups come to nss-systemd (nsswitch.conf(5))."""
    for line in nsswitch.splitlines():
        database, _, services = line.partition("#")[0].partition(":")
        if database.strip() == "passwd":
            return "systemd" in services.split()
    return False


def ours(passwd: str) -> Iterator[LocalUser]:
    """Those in the text of /etc/passwd that were made here: no other user has that shell."""
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[6] == SHELL and fields[0].startswith(KINDS) and fields[2].isdigit():
            yield LocalUser(fields[0], int(fields[2]))


def add_argv(login: str, uid: int, gear: str) -> list[str]:
    # --badname: ids have capitals and dots. --no-log-init: lastlog would become a file of gigabytes, with holes.
    return [
        "/usr/sbin/useradd", "--badname", "--no-log-init", "--no-create-home", "--user-group",
        "--uid", str(uid),
        "--groups", LOGINS,
        "--home-dir", "/",
        "--shell", SHELL,
        "--comment", f"{'repository' if login.startswith('git-') else 'gear'} {gear}",
        "--", login,
    ]  # fmt: skip


def delete_argv(login: str) -> list[str]:
    return ["/usr/sbin/userdel", "--", login]


def perform(argv: list[str]) -> bool:
    """What useradd(8) says against it goes to stderr."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    return done.returncode == 0
