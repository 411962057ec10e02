"""The control groups of gears on a host of fakes: unified ones, as text files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.fakes.host import FakeHost

from geard.containers import versions
from geard.containers.bounding import bounds
from geard.containers.folders import Folders

FIRST_PID = 5_000_000
"""beyond what this machine's kernel gives to a process of its own"""


class FakeGroup:
    """That of a gear that has just been started: as an engine makes it of what is installed."""

    def __init__(self, host: FakeHost, id: str) -> None:
        self.host = host
        folders = Folders.of(host.paths, id)
        container = hashlib.sha256(id.encode()).hexdigest()
        pid = FIRST_PID + int(container[:4], 16)
        (folders.state / "pid").write_text(str(pid))
        (folders.state / "cid").write_text(container)
        root = host.folder / "machine"
        place = f"container.slice/container-small.slice/ctr-{id}.service/libpod-payload-{container}"
        self.folder = root / "sys/fs/cgroup" / place
        self.folder.mkdir(parents=True, exist_ok=True)
        (root / "sys/fs/cgroup/cgroup.controllers").write_text("cpu io memory pids\n")
        (root / f"proc/{pid}").mkdir(parents=True, exist_ok=True)
        (root / f"proc/{pid}/cgroup").write_text(f"0::/{place}\n")
        for name in ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "io.max"):
            self[name] = ""
        found = host.groups.of_container(pid, container)
        assert found is not None
        self.group = found
        found.bound(bounds(versions.require(folders).limits))
        self.uses(memory=10 << 20, pids=2)

    def uses(self, *, memory: int, pids: int, seconds: float = 0, files: int = 0) -> None:
        self["memory.current"] = str(memory + files)
        self["memory.stat"] = f"anon {memory}\ninactive_file {files}\nactive_file 0\n"
        self["memory.swap.current"] = "0"
        self["pids.current"] = str(pids)
        self["cpu.stat"] = f"usage_usec {int(seconds * 1e6)}\n"

    def __setitem__(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def __getitem__(self, name: str) -> str:
        """What stands in a file. The kernel's are made anew with each writing; of these the first line counts."""
        return (self.folder / name).read_text().strip()


def counts_swap(host: FakeHost) -> None:
    path: Path = host.folder / "machine/sys/fs/cgroup/system.slice/memory.swap.max"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("max\n")
    (path.parent.parent / "cgroup.controllers").write_text("cpu io memory pids\n")
