"""The disk below all hosts, made once and then only read.

Two directories, used together as the lower layers of each host's overlay:

    base      Debian with the packages of a host: about a minute's work; its name has a hash of what it holds
    furnish   the lab's configuration and sample images, written over it: a second's; its name has that, too

A layer that a host stands on must never change or go: one that is needed differently gets another name, is
built beside the old one under a lock, and renamed when it is whole.
"""

import hashlib
import json
import platform
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import apt, furnish, images
from lab.machine import LabError, attempt, locked, remove, run, say
from lab.places import CACHE

SUITES = ("trixie", "bookworm")
DEFAULT_SUITE = SUITES[0]

PACKAGES = """
systemd systemd-sysv dbus libnss-systemd libpam-systemd sudo
podman skopeo crun conmon netavark aardvark-dns uidmap docker.io docker-registry
nftables iptables iproute2 iputils-ping conntrack kmod openssh-server curl ca-certificates
netcat-openbsd socat rsync
git python3 python3-systemd python3-nftables busybox-static
procps jq strace acl btrfs-progs quota e2fsprogs bash-completion less
"""
PACKAGES_OF_SUITE = {"trixie": "systemd-userdbd docker-cli firewalld", "bookworm": ""}

MASKED = furnish.MASKED + furnish.MASKED_WITHOUT_KERNEL
OPTIONS = [
    "--mode=root",
    "--variant=minbase",
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=force-unsafe-io",
]


@dataclass(frozen=True)
class Base:
    """What a host's overlay stands on: directories, uppermost first."""

    suite: str
    layers: tuple[Path, ...]


def digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def overlay(layers: tuple[Path, ...], upper: Path, work: Path, target: Path) -> None:
    """Mount layers, and what is written on top of them."""
    for directory in (upper, work, target):
        directory.mkdir(parents=True, exist_ok=True)
    lower = ":".join(str(layer) for layer in layers)
    run(
        [
            "mount",
            "-t",
            "overlay",
            "overlay",
            "-o",
            f"lowerdir={lower},upperdir={upper},workdir={work}",
            target,
        ]
    )


def ready(suite: str) -> Base:
    """The base for hosts of a suite, built if it is not there."""
    debian = debian_of(suite)
    sample_images = images.ready(debian)
    files = furnish.files(limits())
    ways = Path(__file__).read_text()
    what = digest(files, MASKED, furnish.DISABLED, furnish.ENABLED, sample_images.name, ways)
    furnished = CACHE / "furnish" / f"{debian.name}-{what}"
    once(furnished, lambda new: furnish_over(debian, files, sample_images, new))
    return Base(suite, (furnished, debian))


def debian_of(suite: str) -> Path:
    if suite not in SUITES:
        raise LabError(f"no suite {suite}: it is one of {', '.join(SUITES)}")
    packages = sorted((PACKAGES + PACKAGES_OF_SUITE[suite]).split())
    debian = CACHE / "base" / f"{suite}-{digest(packages, OPTIONS, platform.machine())}"
    once(debian, lambda new: bootstrap(suite, packages, new))
    return debian


def limits() -> furnish.Limits:
    return furnish.Limits(
        files=lower_limit(resource.RLIMIT_NOFILE, 20000),
        processes=lower_limit(resource.RLIMIT_NPROC, 90000),
    )


def once(directory: Path, build: Callable[[Path], None]) -> None:
    """Build a directory unless it is there. What a killed build left is removed."""
    if directory.exists():
        return
    with locked(directory.with_name(directory.name + ".lock")):
        if directory.exists():
            return
        new = directory.with_name(directory.name + ".new")
        remove(new)
        build(new)
        new.rename(directory)


def lower_limit(which: int, wanted: int) -> int:
    """Hosts cannot raise a limit above the hard limit of the one who starts them."""
    _, hard = resource.getrlimit(which)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def bootstrap(suite: str, packages: list[str], new: Path) -> None:
    say(f"building the base of {suite} hosts, about a minute")
    run([
        "mmdebstrap",
        "--quiet",
        *OPTIONS,
        *(f"--aptopt={setting}" for setting in apt.settings()),
        f"--include={','.join(packages)}",
        suite,
        new,
        apt.mirror(),
    ])  # fmt: skip


def furnish_over(debian: Path, files: dict[str, str], sample_images: Path, new: Path) -> None:
    """Change the base by an overlay over it; what was written is the furnish layer."""
    with_work = new.with_name(new.name + ".mount")
    remove(with_work)
    root = with_work / "root"
    overlay((debian,), with_work / "upper", with_work / "work", root)
    write_over(root, files, sample_images, MASKED, furnish.ENABLED)
    run(["umount", root])
    (with_work / "upper").rename(new)
    remove(with_work)


def write_over(root: Path, files: dict[str, str], sample_images: Path, masked: str, enabled: str) -> None:
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755 if text.startswith("#!") else 0o644)
    for key in root.glob("etc/ssh/ssh_host_*_key*"):
        key.unlink()
    shutil.copytree(sample_images, root / "usr/share/geard-lab/images")
    attempt(["chroot", root, "systemctl", "--quiet", "disable", *furnish.DISABLED.split()])
    run(["chroot", root, "systemctl", "--quiet", "mask", *masked.split()])
    run(["chroot", root, "systemctl", "--quiet", "enable", *enabled.split()])
    run(["chroot", root, "systemctl", "--quiet", "set-default", "multi-user.target"])
