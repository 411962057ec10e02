"""sshd is told how gears' users log in: a drop-in, which sshd itself has found good before it stays."""

from __future__ import annotations

import grp
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from geard.dispatch.work import Work
from geard.doctor.requests import Finding
from geard.failures import Failure
from geard.host.paths import Paths
from geard.host.process import run
from geard.host.storage import Changes, read_text
from geard.keys import store

SSHD = "/usr/sbin/sshd"
DROP_IN = Path("/etc/ssh/sshd_config.d/10-geard.conf")
ASKS_AS = "geard-ssh"
JOIN = "/usr/lib/geard/gear-join"
# Each word of it matters: docs/SSH.md, "What sshd is told".
TEXT = f"""\
# Written by 'gear setup', and again by the next. How gears' users log in: docs/SSH.md.
Match User ctr-*
    AuthorizedKeysCommand /usr/lib/geard/gear-authorized-keys %u %U %f %t %k
    AuthorizedKeysCommandUser {ASKS_AS}
    AuthorizedKeysFile none
    TrustedUserCAKeys none
    AuthenticationMethods publickey
    PubkeyAuthentication yes
    ForceCommand {JOIN}
    ExposeAuthInfo yes
    PermitTTY yes
    PermitUserRC no
    AllowTcpForwarding local
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    GatewayPorts no
# … and repositories' users: one program of git's each, which gear-join has run; docs/GIT.md.
Match User git-*
    AuthorizedKeysCommand /usr/lib/geard/gear-authorized-keys %u %U %f %t %k
    AuthorizedKeysCommandUser {ASKS_AS}
    AuthorizedKeysFile none
    TrustedUserCAKeys none
    AuthenticationMethods publickey
    PubkeyAuthentication yes
    ForceCommand {JOIN}
    ExposeAuthInfo yes
    DisableForwarding yes
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
        return [await _told(work, await _checker(folder))]


async def _told(work: Work, sshd: Sequence[str]) -> Finding:
    if not await _good(sshd):
        remedy = "sshd -t says what; then gear setup"
        detail = "sshd refuses its own settings as they are: nothing was added to them"
        return Finding(what=_WHAT, state="advice", detail=detail, remedy=remedy)
    before = read_text(DROP_IN)
    if before == TEXT and await _heeded(sshd):
        return Finding(what=_WHAT, state="ok", detail=str(DROP_IN))
    await work.on_disk(_write, TEXT)
    if not await _good(sshd) or not await _heeded(sshd):
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


async def _checker(folder: str) -> list[str]:
    """sshd, as it can be asked about its settings: with a key of its own where the host has none yet."""
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # else made by its service, and -t asks for it
    if "no hostkeys" not in (await run([SSHD, "-t"], check=False)).errors:
        return [SSHD]
    await run(["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/key"])
    return [SSHD, "-h", f"{folder}/key"]


async def _good(sshd: Sequence[str]) -> bool:
    return (await run([*sshd, "-t"], check=False)).status == 0


async def _heeded(sshd: Sequence[str]) -> bool:
    """Whether sshd would do so for a gear's user, and a repository's, after all else that it was told."""
    for user in ("ctr-web", "git-shop"):
        asked = await run([*sshd, "-T", "-C", f"user={user},host=h,addr=192.0.2.1"], check=False)
        if f"forcecommand {JOIN}\n" not in asked.output:
            return False
    return True


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
