"""The machine outside: running programs on it, and what it has."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "zstd": "zstd",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
}
MODULES = """
overlay fuse tun bridge veth vxlan br_netfilter ip_vs nf_tables nf_conntrack_netlink nfnetlink_queue
nft_nat nft_masq nft_redir nft_ct nft_fib_inet nft_reject_inet nft_chain_nat nft_compat
xt_MASQUERADE xt_addrtype xt_conntrack xt_comment xt_multiport xt_mark xt_NFQUEUE
"""


class LabError(Exception):
    """Said to the person at the terminal, as it is."""


def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed; its output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"`{' '.join(words)}` ended with {done.returncode}: {said}")
    return done.stdout


def attempt(command: Sequence[str | Path]) -> bool:
    """Run a program that may as well fail."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold a lock file; it is let go when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole: a reader, or a crash, meets the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.chmod(mode)
    new.rename(path)


def mounts_below(directory: Path) -> list[Path]:
    """Mount points in a directory (or the directory itself), innermost first."""
    found: list[Path] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = Path(line.split()[4].encode().decode("unicode_escape"))
        if target == directory or directory in target.parents:
            found.append(target)
    return found[::-1]


def unmount(directory: Path) -> None:
    """Undo every mount in a directory, and on it."""
    for mount in mounts_below(directory):
        if not attempt(["umount", mount]):
            run(["umount", "--lazy", mount])


def remove(directory: Path) -> None:
    """Remove a directory of ours, unmounting first: nothing is ever removed through a mount."""
    unmount(directory)
    if directory.exists():
        run(["rm", "-rf", "--one-file-system", directory])


def has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def has_unified_cgroups() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def prepare() -> None:
    """Be root, and have the programs and kernel modules that the lab runs on."""
    if os.geteuid() != 0:
        raise LabError("a lab needs root: its hosts are real machines with their own networks and mounts")
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        install(missing)
    if has_systemd():
        # hosts may not load modules; it does not matter if the kernel has not some, or has them built in
        for module in MODULES.split():
            attempt(["modprobe", "--quiet", module])


def install(packages: Sequence[str]) -> None:
    say(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    words = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    try:
        run(words, env=environment)
    except LabError:
        run(["apt-get", "update", "--quiet"], env=environment)
        run(words, env=environment)
