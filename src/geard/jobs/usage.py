"""What a unit has used, read from the kernel's own files while it is still there. Standard library only.

It is the whole unit's: the engine's own share is in it. Docker Engine's containers are beside the unit, in a slice
that both have to themselves.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from contextlib import suppress

ROOT = "/sys/fs/cgroup"
_ENTRIES = 200_000


def groups(text: str, slice: str = "") -> dict[str, str]:
    """A unit's control group by controller ("" is version 2), as /proc/self/cgroup has it; or the slice's that the
    unit is in, by all controllers: with version 1 its engine has made it where systemd had not. Pure.
    """
    found: dict[str, str] = {}
    end = f"/{slice}" if slice else ".service"
    names: list[str] = []
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        before, there, _ = path.partition(end)
        names += controllers.split(",")
        for name in controllers.split(",") if there else ():
            found[name] = before + end
    return dict.fromkeys(names, next(iter(found.values()))) if slice and found else found


def usage(slice: str, root: str = ROOT, where: Mapping[str, str] | None = None) -> dict[str, int | float]:
    """Seconds of processor time, most memory at once, bytes from and to disks; what is not counted is left out."""
    own = groups(_read("/proc/self/cgroup"), slice) if where is None else where
    found: dict[str, int | float] = {}
    if "memory" not in own and "" in own:
        folder = root + own[""]
        if cpu := re.search(r"^usage_usec (\d+)$", _read(f"{folder}/cpu.stat"), re.MULTILINE):
            found["CpuSeconds"] = int(cpu[1]) / 1e6
        _put(found, "PeakMemory", _read(f"{folder}/memory.peak"))
        if stat := _read(f"{folder}/io.stat"):
            found["Read"] = sum(map(int, re.findall(r"\brbytes=(\d+)", stat)))
            found["Written"] = sum(map(int, re.findall(r"\bwbytes=(\d+)", stat)))
        return found
    cpu_used = _v1(root, own, "cpuacct", "cpuacct.usage")
    if cpu_used.strip().isdigit():
        found["CpuSeconds"] = int(cpu_used) / 1e9
    _put(found, "PeakMemory", _v1(root, own, "memory", "memory.max_usage_in_bytes"))
    done = re.findall(
        r"^\d+:\d+ (Read|Write) (\d+)$",
        _v1(root, own, "blkio", "blkio.throttle.io_service_bytes_recursive"),
        re.MULTILINE,
    )
    if "blkio" in own:
        found["Read"] = sum(int(count) for kind, count in done if kind == "Read")
        found["Written"] = sum(int(count) for kind, count in done if kind == "Write")
    return found


def out_of_memory(slice: str, root: str = ROOT) -> bool:
    """Whether the kernel killed something of the unit for memory; version 1 does not tell afterwards."""
    own = groups(_read("/proc/self/cgroup"), slice)
    text = _read(f"{root}{own.get('', '/nowhere')}/memory.events")
    return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in text.splitlines())


def kill_beside(slice: str, unit: str, root: str = ROOT) -> None:
    """What runs in the slice and not in the unit: its engine did not do it."""
    own = groups(_read("/proc/self/cgroup"), slice)
    where = f"{root}/systemd{own['name=systemd']}" if "name=systemd" in own else root + own.get("", "/nowhere")
    for folder, _, files in os.walk(where):
        if "cgroup.procs" in files and f"{unit}/" not in f"{folder}/":
            for pid in _read(f"{folder}/cgroup.procs").split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    continue


def remove_empty(slice: str, root: str = ROOT) -> None:
    """What the engine has made of the slice by controllers that systemd leaves alone (version 1)."""
    for name, path in groups(_read("/proc/self/cgroup"), slice).items():
        for folder, _, _ in os.walk(f"{root}/{name}{path}", topdown=False):
            with suppress(OSError):  # in use: it is systemd's
                os.rmdir(folder)


def larger_than(folder: str, most: int) -> bool:
    """Whether the files below hold more bytes than that, or are more than can be counted; no link is followed."""
    total = entries = 0
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                for entry in found:
                    entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if total > most or entries > _ENTRIES:
                        return True
        except OSError:
            continue
    return False


def _v1(root: str, own: Mapping[str, str], controller: str, name: str) -> str:
    return _read(f"{root}/{controller}{own[controller]}/{name}") if controller in own else ""


def _put(found: dict[str, int | float], name: str, text: str) -> None:
    if text.strip().isdigit():
        found[name] = int(text)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
