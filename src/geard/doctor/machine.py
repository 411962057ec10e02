"""What the machine offers to gears, decided from what its files say.

Each function reads below `root`, so that a test can make a machine of text files.
"""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from geard.containers import selinux, slots
from geard.doctor.requests import Finding, State
from geard.host.disk_quotas import DiskQuotas, mounted, mounts
from geard.host.storage import read_text

MIB, GIB = 1 << 20, 1 << 30
LOW_SHARE = 0.10
EXPIRES_SOON_DAYS = 14  # those that are renewed by themselves are, before that
CERTIFICATES = ("var/lib/geard", "etc/containers/certs.d", "etc/docker/certs.d")
ENDINGS = ("*.crt", "*.pem", "*.cert")
HOSTS = "hosts"
"""where root's certificates for other machines are, a file each, below the settings"""
_TIME_ERROR = 5  # adjtimex(2)


def control_groups(root: Path) -> Finding:
    what = "control groups"
    controllers = read_text(root / "sys/fs/cgroup/cgroup.controllers")
    if controllers is None:
        costs = "kills for memory are seen by less, and limits of slices are coarser"
        remedy = "boot with systemd.unified_cgroup_hierarchy=1"
        return Finding(what=what, state="advice", detail="version 1", costs=costs, remedy=remedy)
    lacking = [name for name in ("cpu", "memory", "pids") if name not in controllers.split()]
    if not lacking:
        return Finding(what=what, state="ok", detail=f"version 2: {controllers.strip()}")
    remedy = "boot without cgroup_disable=" + ",".join(lacking)
    costs = f"limits of {', '.join(lacking)} hold nobody: one gear may take all there is"
    return Finding(what=what, state="broken", detail=f"without {', '.join(lacking)}", costs=costs, remedy=remedy)


def user_namespaces(root: Path) -> Finding:
    what = "user namespaces"
    most = (read_text(root / "proc/sys/user/max_user_namespaces") or "").strip()
    if not (root / "proc/self/ns/user").exists() or most == "0":
        return Finding(
            what=what,
            state="broken",
            detail="the kernel has none" if most != "0" else "none may be made",
            costs="no gear starts but with --simple, whose root is the host's",
            remedy="sysctl user.max_user_namespaces=15000" if most == "0" else "another kernel",
        )
    return Finding(what=what, state="ok", detail=f"up to {most}" if most else "")


def subordinate_ids(root: Path, within: range) -> Finding:
    """Ids of gears must be nobody else's: subuid(5) may give the same ones to somebody's rootless containers."""
    start, end = slots.uid_base(within.start), slots.uid_base(within.stop)
    shared: set[str] = set()
    for name in ("subuid", "subgid"):
        for line in (read_text(root / "etc" / name) or "").splitlines():
            owner, first, count = (*line.split(":"), "", "")[:3]
            numbers = first.isdigit() and count.isdigit()
            if numbers and int(first) < end and int(first) + int(count) > start:
                shared.add(f"{owner} ({first}:{count} in /etc/{name})")
    what = "subordinate ids"
    if not shared:
        return Finding(what=what, state="ok", detail=f"{start} to {end - 1} are the gears' alone")
    costs = "whoever has them may read and write what gears with these ids own, and signal their programs"
    remedy = f"give them others, below {slots.FIRST_UID}, or gears others: ids in the settings' [containers]"
    return Finding(what=what, state="advice", detail=", ".join(sorted(shared)), costs=costs, remedy=remedy)


def mandatory_access(root: Path) -> Finding:
    what, mode = "SELinux, AppArmor", selinux.mode(str(root).rstrip("/"))
    armed = (read_text(root / "sys/module/apparmor/parameters/enabled") or "").strip() == "Y"
    on = [*([f"SELinux, {mode}"] if mode else []), *(["AppArmor"] if armed else [])]
    if mode == "enforcing" or armed:
        return Finding(what=what, state="ok", detail="; ".join(on))
    costs = "gears are held by users of their own, seccomp and capabilities alone"
    if mode:
        return Finding(what=what, state="advice", detail=on[0], costs=costs, remedy="setenforce 1; see audit2why")
    remedy = "boot with apparmor=1 security=apparmor"
    return Finding(what=what, state="advice", detail="neither is on", costs=costs, remedy=remedy)


def seccomp(root: Path) -> Finding:
    what = "seccomp"
    actions = (read_text(root / "proc/sys/kernel/seccomp/actions_avail") or "").split()
    if "errno" in actions:
        return Finding(what=what, state="ok", detail="filters")
    costs = "gears may make every system call"
    return Finding(
        what=what, state="broken", detail="the kernel has no filters", costs=costs, remedy="another kernel"
    )


def quota(root: Path, base: Path) -> Finding:
    """Whether the gears' disk could bound what each of them writes."""
    what = "disk quota"
    kind, options = mounted(mounts(root), str(base))
    costs = "a gear may fill the disk of all others"
    if kind in ("xfs", "ext4") and {"prjquota", "pquota"} & set(options):
        return Finding(what=what, state="ok", detail=f"{kind} with project quotas")
    if kind == "btrfs" and DiskQuotas().kind(base):
        return Finding(what=what, state="ok", detail="btrfs with quotas of subvolumes")
    remedy = {
        "btrfs": f"btrfs quota enable {base}",
        "xfs": "mount it with prjquota (for / on the kernel's command line: rootflags=prjquota)",
        "ext4": "tune2fs -O project,quota on the unmounted disk, then mount it with prjquota",
    }.get(kind, f"put {base} on btrfs, XFS or ext4, with quotas")
    detail = f"{base} is on {kind or 'nothing known'}, without {'' if kind == 'btrfs' else 'project '}quotas"
    return Finding(what=what, state="advice", detail=detail, costs=costs, remedy=remedy)


def volumes(folder: Path) -> list[Finding]:
    """Whether what root in a gear makes set-uid is of use to a user of the host who got at it."""
    what = "volumes"
    try:
        flags = os.statvfs(folder).f_flag
    except FileNotFoundError:
        return []
    lacking = [name for name, flag in (("nosuid", os.ST_NOSUID), ("nodev", os.ST_NODEV)) if not flags & flag]
    if not lacking:
        return [Finding(what=what, state="ok", detail="nosuid, nodev")]
    detail = f"{folder} is mounted without {', '.join(lacking)}"
    costs = "a set-uid program there has its owner's rights, for a user of the host who gets at it"
    return [Finding(what=what, state="advice", detail=detail, costs=costs, remedy="systemctl reload geard-host")]


def disk(path: Path) -> list[Finding]:
    try:
        found = os.statvfs(path)
    except FileNotFoundError:
        costs = "nothing is set up: no gear can be installed"
        detail = f"there is no {path}"
        return [Finding(what="disk", state="missing", detail=detail, costs=costs, remedy="gear setup")]
    if found.f_flag & os.ST_RDONLY:
        costs = "nothing can be installed, started or changed"
        remedy = f"dmesg says why; mount -o remount,rw {path}"
        detail = f"{path} is read-only"
        return [Finding(what="disk", state="broken", detail=detail, costs=costs, remedy=remedy)]
    return [
        space(path, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize),
        *inodes(path, found.f_favail, found.f_files),
    ]


def space(path: Path, free: int, total: int) -> Finding:
    detail = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free at {path}"
    remedy = "gear prune --days 0 removes images that no gear needs; df -h; a larger disk"
    if free < 200 * MIB:
        costs = "installs and pulls fail, and programs that write"
        return Finding(what="disk", state="broken", detail=detail, costs=costs, remedy=remedy)
    if free < min(total * LOW_SHARE, 5 * GIB):
        costs = "the next large image may not fit"
        return Finding(what="disk", state="advice", detail=detail, costs=costs, remedy=remedy)
    return Finding(what="disk", state="ok", detail=detail)


def inodes(path: Path, free: int, total: int) -> list[Finding]:
    if not total:  # btrfs counts none
        return []
    detail = f"{free} of {total} free at {path}"
    if free >= total * LOW_SHARE:
        return [Finding(what="inodes", state="ok", detail=detail)]
    state: State = "broken" if free < 1_000 else "advice"
    costs = "no file can be made, however much room there is" if state == "broken" else "they are used up soon"
    return [Finding(what="inodes", state=state, detail=detail, costs=costs, remedy="gear prune --days 0; df -i")]


def journal(root: Path) -> list[Finding]:
    """Whether logs outlive a reboot, and how much a gear may say (journald.conf(5))."""
    said = journald_settings(root)
    found: list[Finding] = []
    volatile = said.get("Storage", "auto") in ("volatile", "none")
    if volatile or not (root / "var/log/journal").is_dir():
        remedy = "mkdir -p /var/log/journal; journalctl --flush"
        if volatile:
            remedy = "Storage=persistent in /etc/systemd/journald.conf.d/; systemctl restart systemd-journald"
        costs = "what gears said is gone with a reboot"
        detail = "in memory only"
        found.append(Finding(what="journal", state="advice", detail=detail, costs=costs, remedy=remedy))
    else:
        found.append(Finding(what="journal", state="ok", detail="kept on disk"))
    interval, burst = said.get("RateLimitIntervalSec", "30s"), said.get("RateLimitBurst", "10000")
    bounded = interval.rstrip("sminh ") != "0" and burst != "0"
    detail = f"{burst} lines in {interval} of each gear; more are lost" if bounded else "none"
    found.append(Finding(what="journal's rate limit", state="ok", detail=detail))
    return found


def journald_settings(root: Path) -> dict[str, str]:
    """The main file, then drop-ins by name, those in /etc and /run before those of packages."""
    places = ("usr/lib", "usr/local/lib", "run", "etc")
    main = [root / place / "systemd/journald.conf" for place in places]
    named = {
        path.name: path
        for place in places
        for path in sorted((root / place / "systemd/journald.conf.d").glob("*.conf"))
    }
    said: dict[str, str] = {}
    for path in (*main[-1:], *(named[name] for name in sorted(named))):
        for line in (read_text(path) or "").splitlines():
            if found := re.match(r"\s*(\w+)\s*=\s*(.*?)\s*$", line):
                said[found[1]] = found[2]
    return said


def clock(now: float, built: float, synchronized: bool) -> Finding:
    """`built` is when this program was made: it cannot be earlier now."""
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    remedy = "timedatectl set-ntp true; timedatectl timesync-status"
    if now < built - 86_400:
        costs = "certificates and tokens are taken for not yet valid, pulls fail"
        detail = f"{shown} is before this program was made"
        return Finding(what="clock", state="broken", detail=detail, costs=costs, remedy=remedy)
    if not synchronized:
        costs = "logs of several hosts cannot be put in order; far off, certificates and tokens are refused"
        detail = f"{shown}, not synchronized"
        return Finding(what="clock", state="advice", detail=detail, costs=costs, remedy=remedy)
    return Finding(what="clock", state="ok", detail=f"{shown}, synchronized")


def clock_is_synchronized() -> bool:
    """By the kernel's word, whichever program sees to it (adjtimex(2), only asked)."""
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))) != _TIME_ERROR


def here_now() -> Finding:
    return clock(time.time(), Path(__file__).stat().st_mtime, clock_is_synchronized())


def ports(root: Path, span: range) -> Finding:
    what = "ports"
    low, high = map(int, (read_text(root / "proc/sys/net/ipv4/ip_local_port_range") or "32768 60999").split())
    quiet = len(span) - len(range(max(span.start, low), min(span.stop, high + 1)))
    detail = f"{span.start}-{span.stop - 1}; {quiet} of them the kernel gives to no outgoing connection"
    if quiet:
        return Finding(what=what, state="ok", detail=detail)
    costs = "a port may be in use by somebody's outgoing connection just when a gear is to have it"
    remedy = "range in [ports] of /etc/geard/geard.toml, or sysctl net.ipv4.ip_local_port_range"
    return Finding(what=what, state="advice", detail=detail, costs=costs, remedy=remedy)


def certificates(files: Iterable[Path], now: float) -> list[Finding]:
    """One finding for those that expire, or cannot be read; one for all that are well."""
    found: list[Finding] = []
    well = 0
    for path in files:
        ends = _expiry(path)
        if ends is None:
            continue
        days = (ends - now) / 86_400
        when = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d")
        if days > EXPIRES_SOON_DAYS:
            well += 1
            continue
        state: State = "broken" if days < 0 else "advice"
        word = "expired" if days < 0 else "expires"
        costs = "whoever checks it refuses" + ("" if days < 0 else ", from then on")
        detail = f"{path} {word} {when}"
        remedy = _renewing(path, over=days < 0)
        found.append(Finding(what="certificate", state=state, detail=detail, costs=costs, remedy=remedy))
    if well:
        found.append(
            Finding(
                what="certificates", state="ok", detail=f"{well}, valid for longer than {EXPIRES_SOON_DAYS} days"
            )
        )
    return found


def _renewing(path: Path, *, over: bool) -> str:
    """geard's own are renewed by the agent: one that was not has had none running, or none to be reached."""
    if path.parent.name == HOSTS:
        name = path.name
        return f"gear host invite there, gear host add {name} here" if over else f"gear host renew {name}"
    return "systemctl restart geard" if path.name == "server.pem" else "renew it"


def certificate_files(root: Path, settings: Path) -> Sequence[Path]:
    """What geard and the engines present or trust here."""
    places = (settings, *(root / place for place in CERTIFICATES))
    named = (path for place in places for ending in ENDINGS for path in place.rglob(ending))
    hosts = (path for path in (settings / HOSTS).glob("*") if not path.name.startswith("."))
    return sorted({path for path in (*named, *hosts) if path.is_file()})


def _expiry(path: Path) -> float | None:
    """Seconds since 1970 of the first certificate in a file; None where there is none."""
    from cryptography import x509  # noqa: PLC0415 - a second of a slow machine's, which only a doctor pays

    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (ValueError, OSError):
        return None
