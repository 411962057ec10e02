"""Quotas on a real btrfs: a file with loop mount. (ext4 and XFS: tests/vm/test_disk_quotas.py)"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from geard.host.disk_quotas import DiskQuotas, mounted, upper_folder

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Path]:
    if os.geteuid() or not shutil.which("mkfs.btrfs"):
        pytest.skip("mounting takes root, and apt install btrfs-progs")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(128 * MIB)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(32):
            file.write(os.urandom(MIB))
            os.fsync(file.fileno())


def test_a_subvolume_is_held_to_its_quota(disk: Path) -> None:
    quotas, gear, other = DiskQuotas(), disk / "gear", disk / "other"
    for folder in (gear, other):
        quotas.make(folder)
    assert quotas.kind(disk) == "" and quotas.use(gear, 1) is None, "nobody has turned them on"
    with pytest.raises(OSError, match="does not bound it"):
        quotas.bound(gear, 1, 8 * MIB)
    subprocess.run(["btrfs", "quota", "enable", disk], check=True)
    assert quotas.kind(disk) == "subvolume" and quotas.boundable(gear)
    quotas.bound(gear, 1, 8 * MIB)
    quotas.bound(gear, 1, 8 * MIB)
    with pytest.raises(OSError, match=r"quota|space"):
        fill(gear / "file")
    (other / "file").write_bytes(os.urandom(16 * MIB))
    os.sync()
    use = quotas.use(gear, 1)
    assert use is not None and use.limit == 8 * MIB and 6 * MIB <= use.used <= 8 * MIB
    quotas.bound(gear, 1, 0)
    (gear / "more").write_bytes(os.urandom(16 * MIB))
    os.sync()
    free = quotas.use(gear, 1)
    assert free is not None and free.limit == 0 and free.used >= 20 * MIB
    (disk / "plain").mkdir()
    assert not quotas.boundable(disk / "plain")
    quotas.forget(gear)
    shutil.rmtree(gear)
    subprocess.run(["btrfs", "subvolume", "sync", disk], check=True, capture_output=True)
    groups = subprocess.run(["btrfs", "qgroup", "show", disk], check=True, capture_output=True, text=True).stdout
    assert len(re.findall(r"^0/[0-9]+", groups, re.MULTILINE)) == 2, f"the disk's own, and other's:\n{groups}"
    assert not gear.exists(), "a subvolume goes like a folder"


def test_which_file_system_a_folder_is_on() -> None:
    text = "22 1 8:1 / / rw - ext4 /dev/a rw\n30 22 8:2 / /srv rw,nosuid shared:2 - xfs /dev/b rw,prjquota\n"
    assert mounted(text, "/srv/x") == ("xfs", ["rw", "nosuid", "rw", "prjquota"])
    assert mounted(text, "/srvx")[0] == "ext4"


def test_where_a_container_writes() -> None:
    overlay = "1 0 0:50 / {} rw - overlay overlay rw,lowerdir=/s/l/A:/s/l/B,upperdir={},workdir=/s/w\n"
    assert upper_folder(overlay.format("/", "/s/overlay/x/diff")) == "/s/overlay/x/diff"
    assert upper_folder(overlay.format("/proc", "/s/overlay/x/diff")) == ""
    assert upper_folder(overlay.format("/", "overlay/x/diff")) == "", "from a folder that nobody tells"
    assert upper_folder("22 1 8:1 / / rw - ext4 /dev/a rw\n") == ""
