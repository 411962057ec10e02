"""Quotas of projects, on the machine's own ext4 and on XFS: the gears' disk is each of them in turn. And the layer
of a container, which engines bound on XFS.
"""

from __future__ import annotations

import inspect
import json
import re

import pytest
from tests.lab.conftest import Shell, eventually

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

def cut(point, *limit):
    '''Killed at one of its calls to the kernel; False where it ends before that.'''
    made = iter(range(1000))

    def dying(call):
        return lambda *words: os._exit(1) if next(made) == point else call(*words)

    if (child := os.fork()) == 0:
        globals()["_quotactl"], fcntl.ioctl = dying(_quotactl), dying(fcntl.ioctl)
        quotas.bound(gear, 77, *limit)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0

# killed anywhere it is not held yet, or is; done again it is, and once more changes nothing
points = 0
while cut(points, 4 << 20):
    use = quotas.use(gear, 77)
    assert use is None or use.limit in (0, 4 << 20), use
    points += 1
assert points > 5, points
use = quotas.use(gear, 77)
assert (use.limit, use.files, use.files_limit) == (4 << 20, 3, 1024), use
assert quotas.use(other, 77) is None, "nobody else has its number"
quotas.bound(gear, 77, 4 << 20)
for point in range(2):
    assert cut(point, 8 << 20)
    quotas.bound(gear, 77, 4 << 20)
    assert quotas.use(gear, 77) == use

def write(folder, size):
    '''As a gear does: with none of root's rights.'''
    script = f"head -c {size} /dev/urandom >file && sync file"
    os.chmod(folder, 0o777)
    words = ["setpriv", "--reuid=2000000", "--clear-groups", "sh", "-c", script]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)

os.chmod(gear, 0o777)
many = "i=0; while [ $i -lt 1100 ]; do : >$i || exit 1; i=$((i + 1)); done"
words = ["setpriv", "--reuid=2000000", "--clear-groups", "sh", "-c", many]
full = subprocess.run(words, cwd=gear, capture_output=True, text=True)
assert full.returncode and ("quota" in full.stderr or "No space" in full.stderr), full
use = quotas.use(gear, 77)
assert use.files == use.files_limit == 1024, use
for each in range(1100):
    (gear / str(each)).unlink(missing_ok=True)
os.sync()
full = write(gear, 16 << 20)
assert full.returncode and ("quota" in full.stderr or "No space" in full.stderr), full
os.sync()
use = quotas.use(gear, 77)
assert use.limit == 4 << 20 and 3 << 20 <= use.used <= 4 << 20, use
assert write(other, 16 << 20).returncode == 0, "others go on"
assert write(gear / "old", 1 << 20).returncode, "what was there counts, and what comes in it"
quotas.bound(gear, 77, 0)
assert write(gear, 8 << 20).returncode == 0
assert quotas.use(gear, 77).limit == quotas.use(gear, 77).files_limit == 0
quotas.bound(gear, 77, 4 << 20)
quotas.release(top, 77)
quotas.make(top / "next")
quotas.bound(top / "next", 77, 0)
assert quotas.use(gear, 77).limit == 0, "the number is free: nobody who gets it is held to what another was"
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
    facts = {fact["Label"]: fact["Text"] for fact in host.status("hog")["Facts"]}
    assert re.fullmatch(r"[0-9.]+M of 4M, [0-9]+ of 1024 files", facts["Disk"]) and "Layer" not in facts
    (row,) = json.loads(host.gear("top", "-d", "0.1", "-o", "json", "hog").stdout)
    assert row["DiskLimit"] == 4 * MIB >= row["Disk"] > MIB and not row["LayerLimit"], row
    host.gear("limit", "hog", "--quota", "40m")
    host.inside("hog", "sh", "-c", fill)

    # killed somewhere, and asked for again
    for seconds in (1, 3):
        host.sh(f"timeout -s KILL {seconds} gear limit hog --quota 60m", check=False)
    host.gear("limit", "hog", "--quota", "60m")
    facts = {fact["Label"]: fact["Text"] for fact in host.status("hog")["Facts"]}
    assert re.fullmatch(r"[0-9.]+M of 60M, [0-9]+ of 15360 files", facts["Disk"]) and "In force" not in facts
    for seconds in (2, 4):
        host.sh(f"timeout -s KILL {seconds} gear delete --purge hog", check=False)
    host.gear("delete", "--purge", "hog", check=False)
    eventually(lambda: host.sh("ls /var/lib/containers/data/ho/hog", check=False).stdout == "")
    host.sh("timeout -s KILL 5 gear install geard/test-tools next --start --quota 8m -v /data", check=False)
    host.gear("install", "geard/test-tools", "next", "--start", "--quota", "8m", "-v", "/data")
    facts = {fact["Label"]: fact["Text"] for fact in host.status("next")["Facts"]}
    assert re.fullmatch(r"[0-9.]+K? of 8M, [0-9]+ of 2048 files", facts["Disk"]), "nothing of the other's counts"


def test_what_it_writes_outside_of_its_volumes(host: Shell) -> None:
    """The engine's store is on XFS."""
    store, fill = "/var/lib/containers/storage", "dd if=/dev/zero of=/root/file bs=1M count=16 conv=fsync"
    images = "/usr/share/geard-lab/images/test-tools.tar"
    host.sh(f"mkfs.xfs -q -f /dev/vdb && mount -o prjquota /dev/vdb {store} && podman load -q -i {images}")
    try:
        host.gear("install", "geard/test-tools", "hog", "--start", "--quota", "8m", "-p", "none")
        full = host.inside("hog", "sh", "-c", f"mkdir -p /root; {fill}", check=False)
        assert full.returncode != 0 and ("quota" in full.stderr or "No space" in full.stderr)
        host.gear("limit", "hog", "--quota", "40m")
        host.inside("hog", "sh", "-c", fill)
        facts = {fact["Label"]: fact["Text"] for fact in host.status("hog")["Facts"]}
        assert re.match(r"16[0-9.]*M of 40M, [0-9]+ of 10240 files", facts["Layer"])
        (row,) = json.loads(host.gear("top", "-d", "0.1", "-o", "json", "hog").stdout)
        assert row["LayerLimit"] == 40 * MIB > row["Layer"] > 15 * MIB, row
    finally:
        host.gear("delete", "--purge", "hog")
        host.sh(f"umount {store}/overlay 2>/dev/null; umount {store}")
