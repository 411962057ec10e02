"""What a unit has used, read from the kernel's own files while it is still there. Standard library only.

It is the whole unit's: the engine's own share is in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ROOT = "/sys/fs/cgroup"


def groups(text: str) -> dict[str, str]:
    """A unit's control group by controller ("" is version 2), as /proc/self/cgroup has it. Pure."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        unit, service, _ = path.partition(".service")
        for name in controllers.split(",") if service else ():
            found[name] = f"{unit}.service"
    return found


def usage(root: str = ROOT, where: Mapping[str, str] | None = None) -> dict[str, int | float]:
    """Seconds of processor time, most memory at once, bytes from and to disks; what is not counted is left out."""
    own = groups(_read("/proc/self/cgroup")) if where is None else where
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


def out_of_memory(root: str = ROOT) -> bool:
    """Whether the kernel killed something of the unit for memory; version 1 does not tell afterwards."""
    own = groups(_read("/proc/self/cgroup"))
    text = _read(f"{root}{own.get('', '/nowhere')}/memory.events")
    return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in text.splitlines())


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
