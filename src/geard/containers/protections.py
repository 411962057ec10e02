"""What keeps a gear that runs to itself: read from the kernel's own files about its first process, not from what
it was started with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from geard.containers import selinux
from geard.host.storage import read_text

NONE = "it does not run; seen when it does"


def in_force(root: Path, pid: int) -> str:
    """`root` is the host's. Empty where the process is gone."""
    proc = root / "proc"
    status = _fields(_read(proc / str(pid) / "status"))
    if not status:
        return ""
    return "; ".join(
        [
            *_users(proc, pid),
            *_kernel(status, _read(proc / "sys/kernel/cap_last_cap")),
            *_mandatory(root, pid),
            *_namespaces(proc, pid),
        ]
    )


def _users(proc: Path, pid: int) -> Iterator[str]:
    first = _read(proc / str(pid) / "uid_map").split()
    if _same(proc, pid, "user"):
        yield "no users of its own"
    elif len(first) >= 3:
        copied = "" if _is_mapped(_read(proc / str(pid) / "mountinfo")) else ", its image copied for them"
        yield f"user namespace (its {first[0]} is uid {first[1]}{copied})"


def _is_mapped(mountinfo: str) -> bool:
    """Whether the layers of its image are there under its own users without being copied: podman mounts them
    id-mapped in a folder of that name, where the driver and the kernel can (proc_pid_mountinfo(5)).
    """
    for line in mountinfo.splitlines():
        words, _, of = line.partition(" - ")
        if words.split()[4:5] == ["/"]:
            return of.startswith("overlay ") and "/mapped/" in of
    return True  # it cannot be seen


def _kernel(status: dict[str, str], last: str) -> Iterator[str]:
    yield "no new privileges" if status.get("NoNewPrivs") == "1" else "new privileges by set-uid programs"
    yield "seccomp filter" if status.get("Seccomp") == "2" else "no seccomp filter"
    bounding = int(status.get("CapBnd", "0") or "0", 16).bit_count()
    yield f"{bounding} of {int(last) + 1 if last.strip().isdigit() else '?'} capabilities"


def _mandatory(root: Path, pid: int) -> Iterator[str]:
    folder = root / "proc" / str(pid) / "attr"
    mode = selinux.mode(str(root).rstrip("/"))
    if mode:
        yield f"SELinux {':'.join(_read(folder / 'current').strip(chr(0)).split(':')[2:]).strip()} ({mode})"
    if _read(root / "sys/module/apparmor/parameters/enabled").strip() == "Y":
        profile = (_read(folder / "apparmor/current") or ("" if mode else _read(folder / "current"))).strip()
        yield f"AppArmor {profile}" if profile and profile != "unconfined" else "no AppArmor profile"


def _namespaces(proc: Path, pid: int) -> Iterator[str]:
    names = {"net": "network", "pid": "processes", "ipc": "IPC", "mnt": "files", "uts": "host name"}
    own = [word for kind, word in names.items() if not _same(proc, pid, kind)]
    if own:
        yield f"{', '.join(own)} of its own"


def _same(proc: Path, pid: int, kind: str) -> bool:
    """Whether it shares that namespace with the host's own processes."""
    try:
        return os.readlink(proc / str(pid) / "ns" / kind) == os.readlink(proc / "self/ns" / kind)
    except OSError:
        return True


def _fields(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))


def _read(path: Path) -> str:
    """Empty where it cannot be read: the process may just have ended."""
    try:
        return read_text(path) or ""
    except OSError:
        return ""
