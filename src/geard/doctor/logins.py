"""Whether gears' users can log in: sshd, what it makes of its settings, the door they come to, their names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from geard.accounts.local_users import records_are_read
from geard.doctor.requests import Finding
from geard.host import Host
from geard.host.process import run
from geard.host.storage import read_text

SSHD = "/usr/sbin/sshd"
JOIN = "/usr/lib/geard/gear-join"
USERS = ("ctr-web", "git-shop")
_WHAT = "logins by SSH"
_COSTS = "nobody logs in to a gear, or reaches a repository, by SSH"
_UNITS = ("ssh.service", "ssh.socket", "sshd.service", "sshd.socket")


async def logins(host: Host, root: Path) -> list[Finding]:
    found = [names(read_text(root / "etc/nsswitch.conf") or "")]
    if not (root / SSHD[1:]).exists():
        return [_wrong("advice", "there is no sshd", "apt install openssh-server; gear setup"), *found]
    with TemporaryDirectory(prefix="geard-") as folder:
        sshd = await checker(folder)
        good = await is_good(sshd)
        heeded = good and await is_heeded(sshd)
    door = (await host.systemd.state("geard-join.socket")).active == "active"
    runs = [(await host.systemd.state(unit)).active == "active" for unit in _UNITS]
    return [judged(good=good, heeded=heeded, door=door, runs=any(runs)), *found]


def judged(*, good: bool, heeded: bool, door: bool, runs: bool) -> Finding:
    """The first that is wrong. Pure."""
    if not good:
        return _wrong("broken", "sshd refuses its own settings", "sshd -t says what; then gear setup")
    if not heeded:
        detail = "sshd does not do for gears' users what geard's settings say"
        return _wrong("missing", detail, "gear setup; or a Match in /etc/ssh/sshd_config stands before them")
    if not door:
        return _wrong("broken", "geard-join.socket is not active", "systemctl start geard-join.socket")
    if not runs:
        return _wrong("advice", "sshd does not run", "systemctl enable --now ssh.service")
    return Finding(what=_WHAT, state="ok", detail="sshd heeds geard's settings")


def _wrong(state: Literal["broken", "missing", "advice"], detail: str, remedy: str) -> Finding:
    return Finding(what=_WHAT, state=state, detail=detail, costs=_COSTS, remedy=remedy)


def names(nsswitch: str) -> Finding:
    what = "users of gears"
    if records_are_read(nsswitch):
        return Finding(what=what, state="ok", detail="systemd user records")
    detail = "/etc/nsswitch.conf does not ask nss-systemd"
    costs = "each is made by useradd, in /etc/passwd"
    return Finding(
        what=what, state="advice", detail=detail, costs=costs, remedy="apt install libnss-systemd; gear setup"
    )


async def checker(folder: str) -> list[str]:
    """sshd, as it can be asked about its settings: with a key of its own where the host has none yet."""
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # else made by its service, and -t asks for it
    if "no hostkeys" not in (await run([SSHD, "-t"], check=False)).errors:
        return [SSHD]
    await run(["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/key"])
    return [SSHD, "-h", f"{folder}/key"]


async def is_good(sshd: Sequence[str]) -> bool:
    return (await run([*sshd, "-t"], check=False)).status == 0


async def is_heeded(sshd: Sequence[str]) -> bool:
    """Whether sshd would do so for a gear's user, and a repository's, after all else that it was told."""
    for user in USERS:
        asked = await run([*sshd, "-T", "-C", f"user={user},host=h,addr=192.0.2.1"], check=False)
        if f"forcecommand {JOIN}\n" not in asked.output:
            return False
    return True
