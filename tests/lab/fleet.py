"""Several lab hosts whose agents h1 may ask by TLS, and deployments over them."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial

from lab.labs import Lab
from tests.lab.conftest import SETTINGS, Shell, eventually

FOLDER = "/root/deployments"


@contextmanager
def fleet(lab: Lab, h1: Shell, count: int) -> Generator[tuple[Shell, ...]]:
    """h1 to h<count>; but for the first they are gone afterwards."""
    hosts = (h1, *(Shell(lab, f"h{number}") for number in range(2, count + 1)))
    h1.lab_does("up", str(count))
    try:
        for host in hosts:
            host.run(["tee", SETTINGS], stdin='[agent]\nlisten = ["0.0.0.0:43273"]\n')
            host.sh("systemctl enable -q geard.service; systemctl restart geard.service")
        for host in hosts:
            eventually(partial(listens_afar, host), 60)  # it may have booted just now
            eventually(partial(_joined, h1, host), 60)
        yield hosts
    finally:
        for host in hosts:
            h1.run(["gear", "host", "remove", host.name], check=False)
        h1.gear("host", "revoke", "deployer", check=False)
        h1.sh(f"rm -f {SETTINGS}; systemctl disable -q geard.service; systemctl restart geard.service")
        for host in hosts[1:]:
            host.lab_does("down", host.name)


def listens_afar(host: Shell) -> bool:
    """Whether its agent may be asked from elsewhere."""
    return f"{host.address}:43273" in host.run(["ss", "-Hltn"]).stdout


def _joined(h1: Shell, host: Shell) -> bool:
    """Whether h1 may ask it now: on a busy machine an answer may come too late, and the invitation is used up."""
    invitation = host.gear("host", "invite", "deployer", "--scope", "admin").stdout
    return h1.sh(invitation, check=False).returncode == 0


def clear(hosts: Sequence[Shell]) -> None:
    """No gears and no descriptors."""
    if any(host.lab.host(host.name).leader() is None for host in hosts):
        hosts[0].lab_does("up")  # a test failed while one was down
    for number, host in enumerate(hosts):
        names = host.gear("list", "-a", "-q").stdout.split()
        if names:
            host.gear("delete", "--purge", *names)
        if not number:
            host.sh(f"rm -rf {FOLDER}; mkdir {FOLDER}")


def deploy(host: Shell, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`gear …` in the folder of descriptors."""
    return host.run(["sh", "-c", f'cd {FOLDER} && exec gear "$@"', "gear", *words], check=check)


def write(host: Shell, name: str, text: str) -> None:
    host.run(["tee", f"{FOLDER}/{name}"], stdin=text)


def seen(host: Shell, id: str, port: int, address: str = "127.0.0.1") -> str:
    """What a program in a gear is answered there."""
    said = host.inside(id, "wget", "-q", "-O", "-", "-T", "3", f"http://{address}:{port}/", check=False)
    return said.stdout.partition("\n")[0]
