"""Gears that stand still, with control groups of version 2: their memory is asked for, and the kernel takes it."""

from __future__ import annotations

import pytest
from tests.lab.conftest import APP, Shell, eventually

pytestmark = pytest.mark.lab


def test_a_frozen_gear_gives_memory_back_and_goes_on(host: Shell) -> None:
    host.gear("install", APP, "still", "--start")
    port = host.port("still")
    eventually(lambda: "Hello from still" in host.page(port))
    program = host.sh("cat /run/geard/gears/ctr-still/pid").stdout.strip()
    group = "/sys/fs/cgroup" + host.sh(f"cut -d: -f3 /proc/{program}/cgroup").stdout.strip()

    def held() -> int:
        return int(host.sh(f"cat {group}/memory.current").stdout)

    host.gear("exec", "still", "--", "sh", "-c", "head -c 60000000 /dev/urandom >/tmp/file; sync")
    assert held() > 50_000_000
    host.gear("idle", "--depth", "freeze", "still")
    assert "frozen 1" in host.sh(f"cat {group}/cgroup.events").stdout
    assert held() < 10_000_000
    assert "Hello from still" in host.page(port), "the first packet"
    assert "frozen 0" in host.sh(f"cat {group}/cgroup.events").stdout
    assert host.sh("cat /run/geard/gears/ctr-still/pid").stdout.strip() == program
