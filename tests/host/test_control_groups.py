"""Control groups of both versions, as text files have them. tests/lab/test_limits.py has real ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from geard.host.control_groups import Bounds, ControlGroups, Group, disk_of

CONTAINER = "b9ca0ed6566238dee0fa5e3c696a0e056a263bd025715dddb86f45645aeb2767"
PLACE = f"container.slice/container-small.slice/ctr-web.service/libpod-payload-{CONTAINER}"
MIB = 1 << 20

VERSION_1 = {
    "memory/memory.memsw.usage_in_bytes": "1",
    f"memory/{PLACE}/memory.usage_in_bytes": f"{100 * MIB}\n",
    f"memory/{PLACE}/memory.stat": f"cache 9\ntotal_inactive_file {10 * MIB}\ntotal_active_file {20 * MIB}\n",
    f"memory/{PLACE}/memory.memsw.usage_in_bytes": f"{130 * MIB}\n",
    f"memory/{PLACE}/memory.limit_in_bytes": f"{512 * MIB}\n",
    f"memory/{PLACE}/memory.memsw.limit_in_bytes": f"{1024 * MIB}\n",
    f"cpu/{PLACE}/cpu.cfs_quota_us": "50000\n",
    f"cpu/{PLACE}/cpu.cfs_period_us": "100000\n",
    f"cpuacct/{PLACE}/cpuacct.usage": "2500000000\n",
    f"pids/{PLACE}/pids.current": "7\n",
    f"pids/{PLACE}/pids.max": "1024\n",
    f"blkio/{PLACE}/blkio.throttle.read_bps_device": "254:0 2000000\n",
    f"blkio/{PLACE}/blkio.throttle.write_bps_device": "",
    "blkio/blkio.throttle.io_service_bytes": "Total 0\n",
    f"blkio/{PLACE}/blkio.throttle.io_service_bytes_recursive": "254:0 Read 1000\n254:0 Write 20\n"
    "254:0 Sync 1020\n254:16 Read 500\nTotal 1520\n",
}
VERSION_2 = {
    "cgroup.controllers": "cpuset cpu io memory pids\n",
    "system.slice/memory.swap.max": "max\n",
    f"{PLACE}/memory.current": f"{100 * MIB}\n",
    f"{PLACE}/memory.stat": f"anon 5\ninactive_file {10 * MIB}\nactive_file {20 * MIB}\n",
    f"{PLACE}/memory.swap.current": f"{30 * MIB}\n",
    f"{PLACE}/memory.max": f"{512 * MIB}\n",
    f"{PLACE}/memory.swap.max": f"{512 * MIB}\n",
    f"{PLACE}/cpu.max": "50000 100000\n",
    f"{PLACE}/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
    f"{PLACE}/pids.current": "7\n",
    f"{PLACE}/pids.max": "1024\n",
    f"{PLACE}/io.max": "254:0 rbps=2000000 wbps=max riops=max wiops=max\n",
    f"{PLACE}/io.stat": "254:0 rbytes=1000 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n254:16 rbytes=500 wbytes=0\n",
}
WHERE = {
    1: f"5:memory:/{PLACE}\n4:cpu,cpuacct:/{PLACE}\n3:pids:/{PLACE}/inner\n2:blkio:/{PLACE}\n0::/other\n",
    2: f"0::/{PLACE}/init.scope\n",
}


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def root(tmp_path: Path, version: int) -> Path:
    for name, text in (VERSION_1 if version == 1 else VERSION_2).items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "proc/42/net").mkdir(parents=True)
    (tmp_path / "proc/42/cgroup").write_text(WHERE[version])
    (tmp_path / "proc/42/net/dev").write_text(
        "Inter-|   Receive\n face |bytes\n    lo:  5 0 0 0 0 0 0 0  6 0 0 0 0 0 0 0\n"
        "  eth0:1056 12 0 0 0 0 0 0 876 10 0 0 0 0 0 0\n"
    )
    return tmp_path


def test_what_a_container_uses_and_may_use(root: Path, version: int) -> None:
    groups = ControlGroups(root)
    assert (groups.version, groups.counts_swap) == (version, True)
    group = groups.of_container(42, CONTAINER)
    assert group is not None
    use = group.use()
    assert use.bounds == Bounds(512 * MIB, 1024 * MIB, 0.5, 1024, io_read=2_000_000)
    assert (use.memory, use.held, use.swap, use.pids) == (90 * MIB, 70 * MIB, 30 * MIB, 7)
    assert (use.cpu_seconds, use.read, use.written) == (2.5, 1500, 20)
    assert groups.traffic(42) == (1056, 876)


def test_reading_and_writing(root: Path, version: int) -> None:
    groups = ControlGroups(root)
    assert groups.bounds_io
    group = groups.of_container(42, CONTAINER)
    assert group is not None
    for path in [*root.rglob("*.max"), *root.rglob("*bps_device"), *root.rglob("*limit_in_bytes")]:
        path.write_text("")
    group.bound(Bounds(io_read=1_000_000, io_write=3_000_000, disk="254:0"))
    assert (group.bounds().io_read, group.bounds().io_write) == (1_000_000, 3_000_000)
    group.bound(Bounds())
    assert group.bounds().io_read == 1_000_000, "nothing was said of the disk"


def test_which_disk_a_folder_is_on(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    place = f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    root, disk = tmp_path / "machine", tmp_path / "machine/sys/devices/sda"
    (disk / "sda1").mkdir(parents=True)
    (disk / "dev").write_text("8:0\n")
    (root / "sys/dev/block").mkdir(parents=True)
    (root / place).symlink_to(disk / "sda1")
    assert disk_of(tmp_path, root) == place.rpartition("/")[2]
    (disk / "sda1/partition").write_text("1\n")
    assert disk_of(tmp_path, root) == "8:0", "the kernel bounds whole disks"
    assert disk_of("/proc") == "", "no disk at all"


def test_another_process_of_that_number_is_no_container(root: Path) -> None:
    groups = ControlGroups(root)
    assert groups.of_container(42, "f" * 64) is None
    assert groups.of_container(42, "") is None
    assert groups.of_container(43, CONTAINER) is None
    assert groups.traffic(43) == (0, 0)


@pytest.mark.parametrize(
    "wanted",
    [
        Bounds(256 * MIB, 512 * MIB, 2, 99),
        Bounds(2048 * MIB, 2048 * MIB, 0.25, 1),
        Bounds(64 * MIB, 0, 0, 0),
        Bounds(0, 0, 0, 0),
    ],
)
def test_what_is_set_is_in_force(root: Path, wanted: Bounds) -> None:
    group = ControlGroups(root).of_container(42, CONTAINER)
    assert group is not None
    for path in root.rglob("*.max"):
        path.write_text("")  # so that what is written stands alone, as in the kernel
    for path in [*root.rglob("*limit_in_bytes"), *root.rglob("*bps_device")]:
        path.write_text("")
    for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"):
        for path in root.rglob(name):
            path.write_text("")
    group.bound(wanted)
    assert group.bounds() == wanted


def test_a_kernel_without_swap_counts_memory_alone(root: Path, version: int) -> None:
    for path in [*root.rglob("memory.memsw.*"), *root.rglob("memory.swap.*")]:
        path.unlink()
    groups = ControlGroups(root)
    assert not groups.counts_swap
    group = groups.of_container(42, CONTAINER)
    assert group is not None
    for path in [*root.rglob("memory.max"), *root.rglob("memory.limit_in_bytes")]:
        path.write_text("")
    group.bound(Bounds(100 * MIB, 200 * MIB, 1, 10))
    assert group.bounds().memory == 100 * MIB
    assert group.use().swap == 0


def test_a_slice_by_its_path(root: Path) -> None:
    groups = ControlGroups(root)
    assert groups.of_path("container.slice/container-small.slice") is not None
    assert groups.of_path("container.slice/container-large.slice") is None


def test_a_frozen_group_gives_back_what_the_kernel_can_take(tmp_path: Path) -> None:
    folder = tmp_path / "group"
    folder.mkdir()
    (folder / "memory.current").write_text("104857600\n")
    for version, words in ((2, ("cgroup.freeze", "1", "0")), (1, ("freezer.state", "FROZEN", "THAWED"))):
        group = Group(version, {"memory": folder, "freezer": folder})
        assert group.freezer() == (folder / words[0], *words[1:])
        group.give_back(lambda: True)
        assert not (folder / "memory.reclaim").exists(), "a kernel without that file, or version 1"
    reclaim = folder / "memory.reclaim"
    reclaim.write_text("")
    Group(1, {"memory": folder}).give_back(lambda: True)
    Group(2, {"memory": folder}).give_back(lambda: False)
    assert reclaim.read_text() == ""
    asked: list[str] = []

    def is_wanted() -> bool:
        asked.append(reclaim.read_text())
        return True

    Group(2, {"memory": folder}).give_back(is_wanted)
    step = str(16 << 20)
    assert [*asked, reclaim.read_text()] == ["", *[step] * 6, "4194304"]
    asked.clear()
    Group(2, {"memory": folder}).give_back(lambda: is_wanted() and len(asked) < 3)
    assert len(asked) == 3 and reclaim.read_text() == step, "woken meanwhile, it keeps the rest"
