"""The machine has what tests come here for."""

from __future__ import annotations

import pytest
from tests.lab.conftest import APP, Shell, eventually

pytestmark = pytest.mark.lab


def test_what_its_kernel_has(host: Shell) -> None:
    controllers = host.sh("cat /sys/fs/cgroup/cgroup.controllers").stdout.split()
    assert {"cpu", "io", "memory", "pids"} <= set(controllers)
    assert host.run(["getenforce"]).stdout.strip() in ("Permissive", "Enforcing")
    assert host.sh("quotaon -p / | grep -c 'is on$'").stdout.strip() == "3", "of users, groups and projects"
    assert host.run(["blkid", "/dev/vdb"], check=False).returncode in (0, 2), "a second disk"


def test_a_gear_runs_there(host: Shell) -> None:
    host.gear("install", APP, "web", "--start")
    port = host.port("web")
    eventually(lambda: "Hello from web" in host.page(port))
    eventually(lambda: "Hello from web" in host.from_outside(f"http://{host.address}:{port}/"))
    script = "cat; echo err >&2; exit 7"
    said = host.run(["sh", "-c", script], stdin="x" * 300_000, check=False)
    assert (said.returncode, len(said.stdout), said.stderr) == (7, 300_000, "err\n"), "its door carries all"
