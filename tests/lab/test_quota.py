"""A gear's volumes are held to its quota, on a disk of btrfs; where the disk does not count, that is said."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.lab.conftest import BOTH, Shell, eventually
from tests.lab.test_faults import swept

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
MIB = 1 << 20
FILL = "dd if=/dev/urandom of=/data/file bs=1M count=32 conv=fsync"


@pytest.fixture
def btrfs(host: Shell) -> Generator[Shell]:
    """A host whose gears have a disk for their volumes."""
    file = host.lab.host(host.name).directory / "btrfs.img"
    with file.open("wb") as image:
        image.truncate(200 * MIB)
    device = outside("losetup", "--find", "--show", str(file)).strip()
    number = Path(device).name.removeprefix("loop")
    try:
        host.sh(
            f"mknod -m 600 /dev/quota b 7 {number} && mkfs.btrfs -q /dev/quota"
            " && mkdir -p -m 700 /var/lib/containers/data && mount /dev/quota /var/lib/containers/data"
        )
        yield host
    finally:
        host.sh("gear delete --purge $(gear list -a -q)", check=False)
        host.sh("umount /var/lib/containers/data; rm -f /dev/quota", check=False)
        outside("losetup", "--detach", device)
        file.unlink()


def outside(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_where_the_disk_does_not_count_it_is_refused(host: Shell) -> None:
    refused = host.gear("install", TOOLS, "web", "--quota", "8m", check=False)
    assert refused.returncode != 0 and "counts no quotas" in refused.stderr and "gear doctor" in refused.stderr
    answer = host.agent(
        "PUT", "/container/web", {"Image": TOOLS, "Limits": {"Quota": 8 * MIB}}, "-w", "%{http_code}"
    )
    assert answer.stdout.endswith("412")
    assert host.gear("list", "-a", "-q").stdout == ""
    found = json.loads(host.gear("doctor", "-o", "json", check=False).stdout)[0]["Findings"]
    (quota,) = (each for each in found if each["What"] == "disk quota")
    assert quota["State"] == "advice" and quota["Remedy"]


@BOTH
def test_a_gear_fills_its_own_disk_alone(btrfs: Shell) -> None:
    host = btrfs
    host.sh("btrfs quota enable /var/lib/containers/data")
    host.gear("install", TOOLS, "hog", "--start", "--quota", "8m", "-v", "/data")
    host.gear("install", TOOLS, "other", "--start", "-v", "/data")
    full = host.inside("hog", "sh", "-c", FILL, check=False)
    assert full.returncode != 0
    assert "quota" in full.stderr.lower() or "No space" in full.stderr
    host.inside("other", "sh", "-c", FILL)
    host.sh("sync -f /var/lib/containers/data")
    facts = {fact["Label"]: fact["Text"] for fact in host.status("hog")["Facts"]}
    assert "quota 8M" in facts["Limits"] and facts["Disk"].endswith("of 8M")
    (row,) = json.loads(host.gear("top", "-d", "0.2", "-o", "json", "hog").stdout)
    assert row["DiskLimit"] == 8 * MIB >= row["Disk"] > 4 * MIB
    # changed while it runs; given back; a restart, a rollback
    less = host.gear("limit", "hog", "--quota", "1m", check=False)
    assert less.returncode != 0 and "on disk, more than 1M" in less.stderr
    assert "without a restart" in host.gear("limit", "hog", "--quota", "60m").stdout
    host.inside("hog", "sh", "-c", FILL)
    history = json.loads(host.gear("history", "-o", "json", "hog").stdout)[0]["Versions"]
    assert history[0]["Changes"] == ["quota 8M -> 60M"]
    host.gear("limit", "hog", "--quota", "0")
    eventually(lambda: limit_of(host, "hog") == 0)
    host.gear("delete", "--purge", "hog")
    assert not host.sh("ls /var/lib/containers/data/ho/hog", check=False).stdout
    host.inside("other", "sh", "-c", "wc -c /data/file")


def test_killed_anywhere_it_is_held_or_nothing_is_left(btrfs: Shell) -> None:
    """A start with a quota, another quota, a purge: each cut short at some of its calls, and done again."""
    host = btrfs
    host.sh("btrfs quota enable /var/lib/containers/data")
    jobs = ("quota-start:agent:kill:25:9", "quota-limit:command:kill:8:3", "quota-purge:agent:kill:15:6")
    for job in jobs:
        points = swept(host, job)
        assert [(each["point"], each["at"], each["wrong"]) for each in points if each["wrong"]] == []
    host.sh("btrfs subvolume sync /var/lib/containers/data")
    groups = "btrfs qgroup show /var/lib/containers/data | grep -c ^0/"
    eventually(lambda: host.sh(f"btrfs filesystem sync /var/lib/containers/data; {groups}").stdout == "1\n")


def limit_of(host: Shell, name: str) -> int:
    (row,) = json.loads(host.gear("top", "-d", "0.1", "-o", "json", name).stdout)
    return int(row["DiskLimit"])


def test_a_folder_that_was_there_before(btrfs: Shell) -> None:
    host = btrfs
    host.sh("btrfs quota enable /var/lib/containers/data; mkdir -p -m 700 /var/lib/containers/data/we/web")
    host.gear("install", TOOLS, "web", "--start", "-v", "/data")
    refused = host.gear("limit", "web", "--quota", "8m", check=False)
    assert refused.returncode != 0 and "ordinary folder of btrfs" in refused.stderr
    assert json.loads(host.agent("GET", "/container/web/usage").stdout)["Gears"][0]["Usage"]["DiskLimit"] == 0
