"""sshd is told how gears' users log in: a drop-in, which sshd itself has found good before it stays."""

from __future__ import annotations

import grp
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from geard.dispatch.work import Work
from geard.doctor.logins import JOIN, SSHD, checker, is_good, is_heeded
from geard.doctor.requests import Finding
from geard.failures import Failure
from geard.host.paths import Paths
from geard.host.process import run
from geard.host.storage import Changes, read_text
from geard.keys import store

DROP_IN = Path("/etc/ssh/sshd_config.d/10-geard.conf")
ASKS_AS = "geard-ssh"
# Each word of it matters: docs/SSH.md, "What sshd is told".
_BOTH = f"""\
    AuthorizedKeysCommand /usr/lib/geard/gear-authorized-keys %u %U %f %t %k
    AuthorizedKeysCommandUser {ASKS_AS}
    AuthorizedKeysFile none
    TrustedUserCAKeys none
    AuthenticationMethods publickey
    PubkeyAuthentication yes
    ForceCommand {JOIN}
    ExposeAuthInfo yes
"""
TEXT = f"""\
# Written by 'gear setup', and again by the next. How gears' users log in: docs/SSH.md.
Match User ctr-*
{_BOTH}    PermitTTY yes
    PermitUserRC no
    AllowTcpForwarding local
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    GatewayPorts no
# … and repositories' users: one program of git's each, which gear-join has run; docs/GIT.md.
Match User git-*
{_BOTH}    DisableForwarding yes
    PermitTTY no
    PermitUserRC no
"""
_WHAT = "logins by SSH"


async def doors(work: Work) -> list[Finding]:
    await work.on_disk(_open_store, work.host.paths)
    if not os.path.exists(SSHD):
        remedy = "apt install openssh-server; gear setup"
        return [Finding(what=_WHAT, state="advice", detail="there is no sshd", remedy=remedy)]
    with TemporaryDirectory(prefix="geard-") as folder:
        return [await _told(work, await checker(folder))]


async def _told(work: Work, sshd: Sequence[str]) -> Finding:
    if not await is_good(sshd):
        remedy = "sshd -t says what; then gear setup"
        detail = "sshd refuses its own settings as they are: nothing was added to them"
        return Finding(what=_WHAT, state="advice", detail=detail, remedy=remedy)
    before = read_text(DROP_IN)
    if before == TEXT and await is_heeded(sshd):
        return Finding(what=_WHAT, state="ok", detail=str(DROP_IN))
    await work.on_disk(_write, TEXT)
    if not await is_good(sshd) or not await is_heeded(sshd):
        await work.on_disk(_write, before)
        detail = f"{DROP_IN} was written, had no effect and was taken back"
        remedy = "Include /etc/ssh/sshd_config.d/*.conf at the top of /etc/ssh/sshd_config, then gear setup"
        return Finding(what=_WHAT, state="advice", detail=detail, remedy=remedy)
    await _reload(work)
    return Finding(what=_WHAT, state="made", detail=str(DROP_IN))


def _open_store(paths: Paths) -> None:
    """Who may log in where is for root, and for whom sshd asks as."""
    with Changes() as changes:
        changes.folder(store.access_folder(paths))
        for folder in (store.keys_folder(paths), store.access_folder(paths).parent):
            changes.folder(folder)
            os.chmod(folder, 0o750)
            os.chown(folder, 0, grp.getgrnam(ASKS_AS).gr_gid)


def _write(text: str | None) -> None:
    with Changes() as changes:
        changes.folder(DROP_IN.parent)
        if text is None:
            changes.remove(DROP_IN)
        else:
            changes.write(DROP_IN, text)


async def _reload(work: Work) -> None:
    """sshd that waits for connections reads its settings once."""
    try:
        if (await work.host.systemd.state("ssh.service")).active == "active":
            await run(["/usr/bin/systemctl", "reload", "ssh.service"])
    except Failure:
        return  # the next start reads them
