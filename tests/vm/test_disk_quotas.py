"""Quotas of projects, on the machine's own ext4 and on XFS: the gears' disk is each of them in turn."""

from __future__ import annotations

import inspect

import pytest
from tests.lab.conftest import Shell

from geard.host import disk_quotas

pytestmark = pytest.mark.lab

MIB = 1 << 20
TRIAL = """
import os, subprocess, sys
top = Path(sys.argv[1])
quotas, gear, other = DiskQuotas(), top / "gear", top / "other"
assert quotas.kind(top) == "project", quotas.kind(top)
for folder in (gear, other):
    quotas.make(folder)
(gear / "old").mkdir()
(gear / "old/file").write_bytes(bytes(1 << 20))
os.symlink("/etc/passwd", gear / "link")
quotas.bound(gear, 77, 4 << 20)
quotas.bound(gear, 77, 4 << 20)

def write(folder, size):
    '''As a gear does: with none of root's rights.'''
    script = f"head -c {size} /dev/urandom >file && sync file"
    os.chmod(folder, 0o777)
    words = ["setpriv", "--reuid=2000000", "--clear-groups", "sh", "-c", script]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)

full = write(gear, 16 << 20)
assert full.returncode and ("quota" in full.stderr or "No space" in full.stderr), full
os.sync()
use = quotas.use(gear, 77)
assert use.limit == 4 << 20 and 3 << 20 <= use.used <= 4 << 20, use
assert write(other, 16 << 20).returncode == 0, "others go on"
assert write(gear / "old", 1 << 20).returncode, "what was there counts, and what comes in it"
quotas.bound(gear, 77, 0)
assert write(gear, 8 << 20).returncode == 0
assert quotas.use(gear, 77).limit == 0
print("all so")
"""


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_folder_is_held_to_its_quota(host: Shell, kind: str) -> None:
    top = "/var/lib/containers/trial"
    if kind == "xfs":
        host.sh(f"mkfs.xfs -q -f /dev/vdb && mkdir -p {top} && mount -o prjquota /dev/vdb {top}")
    else:
        host.run(["mkdir", "-p", top])
    try:
        source = inspect.getsource(disk_quotas)
        assert host.run(["python3", "-S", "-c", source + TRIAL, top], seconds=60).stdout == "all so\n"
    finally:
        host.sh(f"if mountpoint -q {top}; then umount {top}; fi; rm -rf {top}")


def test_a_gear_is_held_to_its_quota(host: Shell) -> None:
    fill = "dd if=/dev/urandom of=/data/file bs=1M count=16 conv=fsync"
    host.gear("install", "geard/test-tools", "hog", "--start", "--quota", "4m", "-v", "/data")
    full = host.inside("hog", "sh", "-c", fill, check=False)
    assert full.returncode != 0 and ("quota" in full.stderr or "No space" in full.stderr)
    assert "Disk: " in host.gear("status", "-n", "0", "hog").stdout
    host.gear("limit", "hog", "--quota", "40m")
    host.inside("hog", "sh", "-c", fill)
