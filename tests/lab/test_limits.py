"""Limits as the kernel has them: at a start, changed while a gear runs, and the sums of slices."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
MIB = 1 << 20
EAT = 'x=$(head -c {}m /dev/zero | tr "\\0" x); echo eaten; while :; do sleep 1; done'


def top(host: Shell, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(host.gear("top", "-d", "0.3", "-o", "json", *words).stdout)
    return found


def facts(host: Shell, name: str) -> dict[str, str]:
    return {fact["Label"]: fact["Text"] for fact in host.status(name)["Facts"]}


def in_force(host: Shell, name: str) -> Sequence[float]:
    """Memory, CPUs, processes: what the kernel's files say, found without geard."""
    script = f"""
pid=$(cat /run/geard/gears/ctr-{name}/pid)
of() {{ sed -n "s|^[0-9]*:[^:]*\\b$1\\b[^:]*:||p" /proc/$pid/cgroup; }}
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    cd /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$pid/cgroup); cat memory.max cpu.max pids.max | tr '\\n' ' '
else
    cat /sys/fs/cgroup/memory$(of memory)/memory.limit_in_bytes
    cat /sys/fs/cgroup/cpu$(of cpu)/cpu.cfs_quota_us /sys/fs/cgroup/cpu$(of cpu)/cpu.cfs_period_us
    cat /sys/fs/cgroup/pids$(of pids)/pids.max
fi"""
    memory, quota, period, pids = host.sh(script).stdout.split()
    cpus = int(quota) / int(period) if re.fullmatch(r"\d+", quota) else 0
    return [0 if text == "max" or int(text) > 1 << 62 else int(text) for text in (memory, pids)] + [cpus]


def restarts(host: Shell, name: str) -> str:
    return host.run(["systemctl", "show", f"ctr-{name}", "-P", "MainPID", "-P", "InvocationID"]).stdout


@BOTH
def test_limits_change_while_a_gear_runs(host: Shell) -> None:
    host.gear("install", TOOLS, "web", "--start", "--memory", "64m", "--pids", "50")
    assert in_force(host, "web") == [64 * MIB, 50, 0]
    run = restarts(host, "web")
    said = host.gear("limit", "web", "--memory", "128m", "--cpus", "0.5", "--pids", "80").stdout
    assert said == "web is changed, without a restart\n"
    assert in_force(host, "web") == [128 * MIB, 80, 0.5]
    # and away again, which engines' own update cannot do
    host.gear("limit", "web", "--memory", "0", "--cpus", "0", "--pids", "0")
    assert in_force(host, "web") == [0, 0, 0]
    host.run(["systemctl", "daemon-reload"])
    host.gear("limit", "web", "--memory", "48m", "--pids", "60")
    assert in_force(host, "web") == [48 * MIB, 60, 0]
    assert restarts(host, "web") == run, "all the while it ran"
    shown = facts(host, "web")
    assert "memory 48M" in shown["Limits"] and "of 48M" in shown["Use"] and "In force" not in shown
    host.gear("restart", "web")
    assert in_force(host, "web") == [48 * MIB, 60, 0], "and they are what it is started with"


@BOTH
def test_a_gear_that_holds_more_is_left_alone(host: Shell) -> None:
    host.gear("install", TOOLS, "hog", "--start", "--memory", "200m", "--", "sh", "-c", EAT.format(40))
    eventually(lambda: "eaten" in host.gear("log", "hog").stdout, 60)
    refused = host.gear("limit", "hog", "--memory", "16m", check=False)
    assert refused.returncode != 0 and "of memory now, more than 16M" in refused.stderr
    assert in_force(host, "hog")[0] == 200 * MIB
    # A hand beside geard's: told, and undone by asking for what is installed.
    host.sh("podman update --pids-limit 33 ctr-hog || docker update --pids-limit 33 ctr-hog")
    assert facts(host, "hog")["In force"] == "pids 33, not 1024"
    host.gear("limit", "hog", "--pids", "1024")
    assert "In force" not in facts(host, "hog")


def test_over_http_and_with_what_an_update_knows(host: Shell) -> None:
    host.gear("install", TOOLS, "web", "--start")
    answer = json.loads(
        host.agent("PATCH", "/container/web/limits", {"Memory": 96 * MIB}, "-H", "Accept: application/json").stdout
    )
    assert (answer["Limits"]["Memory"], answer["Changed"]) == (96 * MIB, True)
    eventually(lambda: in_force(host, "web")[0] == 96 * MIB)
    rows = json.loads(host.gear("history", "-o", "json", "web").stdout)[0]["Versions"]
    assert rows[0]["Changes"] == ["memory 512M -> 96M"]
    usage = json.loads(host.agent("GET", "/containers/usage").stdout)
    assert [gear["Id"] for gear in usage["Gears"]] == ["web"]
    assert usage["Gears"][0]["Usage"]["MemoryLimit"] == 96 * MIB
    one = json.loads(host.agent("GET", "/container/web/usage").stdout)
    assert [gear["Id"] for gear in one["Gears"]] == ["web"] and one["Slices"] == []
    host.gear("rollback", "web")
    assert in_force(host, "web")[0] == 512 * MIB


@BOTH
def test_use_is_seen_as_it_is(host: Shell) -> None:
    host.gear("install", TOOLS, "idle", "--start")
    host.gear("install", TOOLS, "busy", "--start", "--cpus", "0.2", "--", "sh", "-c", "while :; do :; done")
    host.gear("install", TOOLS, "hog", "--start", "--memory", "200m", "--", "sh", "-c", EAT.format(40))
    eventually(lambda: "eaten" in host.gear("log", "hog").stdout, 60)
    eventually(lambda: next(row.get("Id") for row in top(host)) == "busy", 30)
    rows = {row.get("Id") or row["Slice"]: row for row in top(host)}
    assert 0.02 < rows["busy"]["Cpus"] < 0.5 and rows["busy"]["CpusLimit"] == 0.2
    assert rows["idle"]["Cpus"] < rows["busy"]["Cpus"]
    assert 40 * MIB <= rows["hog"]["Memory"] <= 200 * MIB == rows["hog"]["MemoryLimit"]
    assert rows["idle"]["PidsLimit"] == 1024 and 1 <= rows["idle"]["Pids"] < 10
    assert rows["container-small"]["Memory"] > rows["hog"]["Memory"]
    assert host.gear("top", "-d", "0.3", "-s", "memory", "-o", "name").stdout.split()[0] == "hog"
    host.gear("stop", "busy")
    assert "busy" not in host.gear("top", "-d", "0.1", "-o", "name").stdout


def test_slices_bound_the_sums_and_are_an_admins(host: Shell) -> None:
    host.sh("rm /var/lib/containers/slices/*; gear setup")
    host.gear("install", TOOLS, "web", "--start")
    whole = int(host.sh("awk '/^MemTotal/ { print $2 * 1024 }' /proc/meminfo").stdout.split()[0])

    def bound(name: str) -> int:
        return int(host.run(["systemctl", "show", f"{name}.slice", "-P", "MemoryMax"]).stdout)

    for name, share in (("container", 0.90), ("container-small", 0.75), ("container-large", 0.85)):
        assert abs(bound(name) / whole - share) < 0.01, name
        assert host.run(["systemctl", "show", f"{name}.slice", "-P", "TasksMax"]).stdout.strip() != "infinity"
    path = "/var/lib/containers/slices/container-small.slice"
    kept = host.run(["cat", path]).stdout
    try:
        host.sh(f"sed -i 's/^MemoryMax=.*/MemoryMax=300M/' {path}; systemctl daemon-reload")
        host.gear("setup")
        assert bound("container-small") == 300 * MIB, "setup leaves what an admin wrote"
        host.gear("restart", "web")
        rows = {row.get("Slice"): row for row in top(host)}
        assert rows["container-small"]["MemoryLimit"] == 300 * MIB, "in force since a gear in it was started"
    finally:
        host.run(["tee", path], stdin=kept)
        host.run(["systemctl", "daemon-reload"])


def test_no_swap_where_that_is_asked(host: Shell) -> None:
    same = ("--memory", "64m", "--memory-swap", "64m")
    asked = host.gear("install", TOOLS, "web", "--start", *same, check=False)
    counted = host.sh(
        "ls /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes /sys/fs/cgroup/*/memory.swap.max", check=False
    )
    if not counted.stdout:
        assert asked.returncode == 64 and "does not count swap" in asked.stderr
        return
    assert asked.returncode == 0, asked.stderr
    assert "memory 64M, memory-swap 64M" in facts(host, "web")["Limits"] and "In force" not in facts(host, "web")
    host.gear("limit", "web", "--memory-swap", "100m")
    host.gear("limit", "web", "--memory", "80m")
    assert "In force" not in facts(host, "web")
    refused = host.gear("limit", "web", "--memory", "120m", check=False)
    assert refused.returncode == 64 and "less than the memory alone" in refused.stderr


@BOTH
def test_reading_from_the_disk_is_bounded(host: Shell) -> None:
    writing = host.gear("install", TOOLS, "web", "--io-write", "1m", check=False)
    if host.engine == "docker":
        reading = host.gear("install", TOOLS, "web", "--io-read", "1m", check=False)
        assert (reading.returncode, writing.returncode) == (64, 64) and "passed over" in reading.stderr
        return
    if host.sh("[ -e /sys/fs/cgroup/cgroup.controllers ]", check=False).returncode != 0:
        assert writing.returncode == 64 and "version 1 do not see" in writing.stderr
    # A file of the host's, and none of it in memory.
    path = "/var/lib/containers/proof-of-reading"
    forget = f"dd of={path} oflag=nocache conv=notrunc,fdatasync count=0 status=none"
    host.sh(f"head -c 2m /dev/urandom >{path}; sync; {forget}")
    try:
        host.gear("install", TOOLS, "web", "--start", "--io-read", "256k", "-v", f"{path}:/file:ro")
        assert "io-read 256K/s" in facts(host, "web")["Limits"] and "In force" not in facts(host, "web")
        begin = time.monotonic()
        host.inside("web", "cat", "/file")
        assert time.monotonic() - begin > 4, "2 MiB at 256 KiB a second take 8 s"
        host.gear("limit", "web", "--io-read", "0")
        assert "In force" not in facts(host, "web")
        host.sh(forget)
        assert (
            host.run(["podman", "exec", "ctr-web", "wc", "-c", "/file"], seconds=60).stdout.split()[0] == "2097152"
        )
    finally:
        host.run(["rm", path])
