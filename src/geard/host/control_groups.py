"""What a control group has used and may use, read and set in the kernel's own files, for both versions of them.

Version 2 has one tree, version 1 one for each controller; which it is, is seen anew each time. `root` is where the
machine's files are: a test makes a machine of text files.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

NO_LIMIT = 1 << 61
"""version 1 has no word for it, but a number near the largest; nor has Docker, whose is half of that"""
PERIOD = 100_000
GIVE_BACK_BYTES = 16 << 20
GIVE_BACK_SECONDS = 10.0
_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "blkio", "freezer")


@dataclass(frozen=True)
class Bounds:
    """The most that the members of a group may use together; 0: no limit of its own."""

    memory: int = 0
    memory_swap: int = 0
    """bytes of memory and swap together"""
    cpus: float = 0
    pids: int = 0
    io_read: int = 0
    io_write: int = 0
    """bytes a second from and to one disk"""
    disk: str = ""
    """which, as 254:0; empty: nothing is said of reading and writing"""


@dataclass(frozen=True)
class Use:
    """What they use now, or have used since the group was made."""

    bounds: Bounds
    memory: int
    """bytes, without files that the kernel can forget"""
    held: int
    """bytes that cannot be had back but from the programs themselves"""
    swap: int
    pids: int
    cpu_seconds: float
    read: int
    written: int
    """bytes from and to disks"""
    time: float
    """when this was read, in seconds of a clock that only goes forward"""


@dataclass(frozen=True)
class Group:
    """One control group: by controller, where its files are. Of version 2 all are in one folder."""

    version: int
    folders: dict[str, Path] = field(default_factory=dict[str, Path])

    def file(self, controller: str, name: str) -> Path:
        return self.folders.get(controller, Path("/nowhere")) / name

    def freezer(self) -> tuple[Path, str, str]:
        """The file that has all members stand still, and the words for that and for going on."""
        if self.version == 2:
            return self.file("freezer", "cgroup.freeze"), "1", "0"
        return self.file("freezer", "freezer.state"), "FROZEN", "THAWED"

    def give_back(self, wanted: Callable[[], bool]) -> None:
        """Have the kernel take what memory of the members it can without them: files, and what goes to swap. Where
        it cannot be asked (version 1, a kernel before 5.19) it takes that when it needs it.

        By small steps, for `GIVE_BACK_SECONDS` at most: the kernel comes back from a step only when it is done.
        """
        if self.version != 2:
            return
        end = time.monotonic() + GIVE_BACK_SECONDS
        with suppress(OSError):  # EAGAIN: there is no more of it
            left = int(self.file("memory", "memory.current").read_text())
            while left > 0 and wanted() and time.monotonic() < end:
                self._write("memory", "memory.reclaim", str(min(left, GIVE_BACK_BYTES)))
                left -= GIVE_BACK_BYTES

    def use(self) -> Use:
        """Raises OSError where the group is gone. What the kernel does not count is 0."""
        read_time = time.monotonic()
        if self.version == 2:
            return self._use_of_2(read_time)
        usage = int(self.file("memory", "memory.usage_in_bytes").read_text())
        pages = _pairs(self._text("memory", "memory.stat"))
        with_swap = _number(self._text("memory", "memory.memsw.usage_in_bytes")) or usage
        done = re.findall(
            r"^\d+:\d+ (Read|Write) (\d+)$",
            self._text("blkio", "blkio.throttle.io_service_bytes_recursive"),
            re.MULTILINE,
        )
        return Use(
            bounds=self.bounds(),
            memory=max(0, usage - pages.get("total_inactive_file", 0)),
            held=max(0, usage - pages.get("total_inactive_file", 0) - pages.get("total_active_file", 0)),
            swap=max(0, with_swap - usage),
            pids=_number(self._text("pids", "pids.current")),
            cpu_seconds=_number(self._text("cpuacct", "cpuacct.usage")) / 1e9,
            read=sum(int(count) for kind, count in done if kind == "Read"),
            written=sum(int(count) for kind, count in done if kind == "Write"),
            time=read_time,
        )

    def _use_of_2(self, read_time: float) -> Use:
        usage = int(self.file("memory", "memory.current").read_text())
        pages = _pairs(self._text("memory", "memory.stat"))
        io = self._text("blkio", "io.stat")
        return Use(
            bounds=self.bounds(),
            memory=max(0, usage - pages.get("inactive_file", 0)),
            held=max(0, usage - pages.get("inactive_file", 0) - pages.get("active_file", 0)),
            swap=_number(self._text("memory", "memory.swap.current")),
            pids=_number(self._text("pids", "pids.current")),
            cpu_seconds=_pairs(self._text("cpu", "cpu.stat")).get("usage_usec", 0) / 1e6,
            read=sum(map(int, re.findall(r"\brbytes=(\d+)", io))),
            written=sum(map(int, re.findall(r"\bwbytes=(\d+)", io))),
            time=read_time,
        )

    def bounds(self) -> Bounds:
        if self.version == 2:
            memory = _limit(self._text("memory", "memory.max"))
            io = self._text("blkio", "io.max")
            read, write = re.findall(r"\brbps=(\d+)", io), re.findall(r"\bwbps=(\d+)", io)
            swap = self._text("memory", "memory.swap.max").strip()
            quota, _, period = self._text("cpu", "cpu.max").strip().partition(" ")
            together = memory + int(swap) if memory and swap.isdigit() else 0
        else:
            memory = _limit(self._text("memory", "memory.limit_in_bytes"))
            read, write = (
                re.findall(r" (\d+)$", self._text("blkio", f"blkio.throttle.{way}_bps_device"), re.MULTILINE)
                for way in ("read", "write")
            )
            together = _limit(self._text("memory", "memory.memsw.limit_in_bytes"))
            quota = self._text("cpu", "cpu.cfs_quota_us").strip()
            period = self._text("cpu", "cpu.cfs_period_us").strip()
        return Bounds(
            memory=memory,
            memory_swap=together,
            cpus=int(quota) / int(period) if quota.isdigit() and period.isdigit() else 0,
            pids=_limit(self._text("pids", "pids.max")),
            io_read=max(map(int, read), default=0),
            io_write=max(map(int, write), default=0),
        )

    def bound(self, wanted: Bounds) -> None:
        """Have these hold from now on. Raises OSError; EBUSY where version 1 cannot bring memory below a limit."""
        self._write("pids", "pids.max", str(wanted.pids or "max"))
        if wanted.disk and self.version == 2:
            io = f"{wanted.disk} rbps={wanted.io_read or 'max'} wbps={wanted.io_write or 'max'}"
            self._write("blkio", "io.max", io, optional=True)
        elif wanted.disk:
            for way, size in (("read", wanted.io_read), ("write", wanted.io_write)):
                self._write("blkio", f"blkio.throttle.{way}_bps_device", f"{wanted.disk} {size}", optional=True)
        if self.version == 2:
            extra = max(0, wanted.memory_swap - wanted.memory) if wanted.memory and wanted.memory_swap else 0
            self._write("cpu", "cpu.max", f"{int(wanted.cpus * PERIOD) or 'max'} {PERIOD}")
            self._write("memory", "memory.swap.max", str(extra) if wanted.memory_swap else "max", optional=True)
            self._write("memory", "memory.max", str(wanted.memory or "max"))
        else:
            self._write("cpu", "cpu.cfs_period_us", str(PERIOD))
            self._write("cpu", "cpu.cfs_quota_us", str(int(wanted.cpus * PERIOD) or -1))
            self._bound_memory_of_1(wanted)

    def _bound_memory_of_1(self, wanted: Bounds) -> None:
        """Memory alone may never be more than memory and swap together: which comes first depends on the way."""
        before = _limit(self._text("memory", "memory.memsw.limit_in_bytes")) or NO_LIMIT
        steps = [
            ("memory.memsw.limit_in_bytes", wanted.memory_swap),
            ("memory.limit_in_bytes", wanted.memory),
        ]
        if (wanted.memory_swap or NO_LIMIT) < before:
            steps.reverse()
        for name, size in steps:
            self._write("memory", name, str(size or -1), optional="memsw" in name)

    def _text(self, controller: str, name: str) -> str:
        """Empty where there is no such file: a controller that is not on, or a kernel that does not count it."""
        try:
            return self.file(controller, name).read_text(encoding="ascii")
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def _write(self, controller: str, name: str, text: str, *, optional: bool = False) -> None:
        path = self.file(controller, name)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        except FileNotFoundError:
            if optional:
                return
            raise
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


class ControlGroups:
    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._tree = root / "sys/fs/cgroup"
        self._proc = root / "proc"

    @property
    def version(self) -> int:
        return 2 if (self._tree / "cgroup.controllers").exists() else 1

    @property
    def counts_swap(self) -> bool:
        """Whether the kernel bounds swap: not where it was booted with swapaccount=0."""
        if self.version == 1:
            return (self._tree / "memory/memory.memsw.usage_in_bytes").exists()
        return any(self._tree.glob("*/memory.swap.max"))

    @property
    def bounds_io(self) -> bool:
        if self.version == 1:
            return (self._tree / "blkio/blkio.throttle.io_service_bytes").exists()
        return "io" in (self._tree / "cgroup.controllers").read_text(encoding="ascii").split()

    def disk_of(self, folder: Path) -> str:
        return disk_of(folder, self._root)

    def of_container(self, pid: int, container: str) -> Group | None:
        """The group of an engine's container, by one of its processes; None where that is no process of it (any
        more). Programs may have groups of their own inside: those are part of it.
        """
        try:
            lines = (self._proc / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return None
        paths: dict[str, str] = {}
        for _, names, path in (line.split(":", 2) for line in lines):
            parts = path.split("/")
            ours = next((number for number, part in enumerate(parts) if container and container in part), None)
            if ours is not None:
                paths |= dict.fromkeys(names.split(","), "/".join(parts[: ours + 1]))
        return self._group(paths) if paths else None

    def of_path(self, path: str) -> Group | None:
        """The group that has this path in every tree; None where there is none."""
        found = self._group(dict.fromkeys(("", *_CONTROLLERS), path))
        return found if found.folders["memory"].is_dir() else None

    def _group(self, paths: dict[str, str]) -> Group:
        version = self.version
        folders = {
            name: self._tree / (("" if version == 2 else f"{name}/") + path.lstrip("/"))
            for name in _CONTROLLERS
            if (path := paths.get("" if version == 2 else name)) is not None
        }
        return Group(version, folders)

    def traffic(self, pid: int) -> tuple[int, int]:
        """Bytes received and sent by the network namespace of a process, but to itself."""
        try:
            text = (self._proc / str(pid) / "net/dev").read_text(encoding="ascii")
        except OSError:
            return 0, 0
        rows = [line.split(":", 1) for line in text.splitlines()[2:]]
        counts = [figures.split() for name, figures in rows if name.strip() != "lo"]
        return sum(int(c[0]) for c in counts), sum(int(c[8]) for c in counts)


def disk_of(folder: Path | str, root: Path = Path("/")) -> str:
    """The whole disk that a folder is on, as 254:0; empty where that is none (btrfs and ZFS do not say)."""
    number = os.stat(folder).st_dev
    if not os.major(number):
        return ""
    device = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    if (device / "partition").exists():
        return (device / "../dev").resolve().read_text(encoding="ascii").strip()
    return f"{os.major(number)}:{os.minor(number)}"


def _limit(text: str) -> int:
    number = _number(text)
    return number if 0 < number < NO_LIMIT else 0


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0


def _pairs(text: str) -> dict[str, int]:
    words = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}
