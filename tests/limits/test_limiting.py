"""Limits changed while a gear runs, and looked at; by both ways."""

from __future__ import annotations

import json
from unittest.mock import Mock

import pytest
from tests.fakes.groups import FakeGroup, counts_swap
from tests.fakes.terminal import Terminal

from geard.containers import bounding, versions
from geard.containers.folders import Folders
from geard.containers.requests import Limits
from geard.host import control_groups
from geard.host.disk_quotas import DiskUse

MIB = 1 << 20


def started(gear: Terminal, *options: str) -> FakeGroup:
    counts_swap(gear.host)
    gear.ok("install", "geard/sample", "web", "--start", *options)
    return FakeGroup(gear.host, "web")


def test_a_gear_that_runs_is_held_to_others_without_a_restart(gear: Terminal) -> None:
    group = started(gear, "--memory", "256m", "--pids", "50")
    before = gear.host.systemd.told_about("ctr-web.service")
    said = gear.ok("limit", "web", "--memory", "1g", "--cpus", "0.5", "--pids", "200")
    assert said == "web is changed, without a restart\n"
    assert gear.host.systemd.told_about("ctr-web.service") == before
    assert group.group.bounds().memory == 1024 * MIB
    assert (group["cpu.max"], group["pids.max"]) == ("50000 100000", "200")
    assert group["memory.swap.max"] == str(1024 * MIB), "as much swap as memory, as an engine starts it"
    status = gear.ok("status", "web")
    assert "memory 1G, cpus 0.5, pids 200; slice container-small" in status
    assert "In force" not in status and "running version" not in status, "what is installed is what runs"
    assert "Use: memory 10M of 1G, pids 2 of 200" in status


def test_it_is_a_version_and_can_be_taken_back(gear: Terminal) -> None:
    started(gear, "--memory", "256m")
    gear.ok("limit", "web", "--memory", "512m")
    history = json.loads(gear.ok("history", "-o", "json", "web"))[0]["Versions"]
    assert history[0]["Changes"] == ["memory 256M -> 512M"]
    assert history[0]["Installed"] and history[0]["Running"]
    gear.ok("rollback", "web", "--later")
    assert versions.require(Folders.of(gear.host.paths, "web")).limits.memory == 256 * MIB
    gear.ok("limit", "web", "--cpus", "2")
    gear.ok("update", "web", "--label", "a=b", "--later")
    kept = versions.require(Folders.of(gear.host.paths, "web"))
    assert (kept.limits.memory, kept.limits.cpus) == (256 * MIB, 2), "an update keeps what was asked for"


def test_the_same_again_changes_nothing_and_is_put_right(gear: Terminal) -> None:
    group = started(gear)
    gear.ok("limit", "web", "--pids", "77")
    kept = len(versions.recorded(Folders.of(gear.host.paths, "web")))
    group["pids.max"] = "5"
    assert "In force: pids 5, not 77" in gear.ok("status", "web")
    assert gear.ok("limit", "web", "--pids", "77") == "web is as it was\n"
    assert group["pids.max"] == "77", "somebody else's hand is undone by asking again"
    assert len(versions.recorded(Folders.of(gear.host.paths, "web"))) == kept


def test_less_than_it_holds_is_refused(gear: Terminal) -> None:
    group = started(gear)
    group.uses(memory=100 * MIB, files=300 * MIB, pids=40)
    before = gear.tree()
    for words, reason in (
        (("--memory", "64m"), "web has 100M of memory now, more than 64M"),
        (("--memory", "200m", "--pids", "39"), "web has 40 of pids now, more than 39"),
    ):
        refused = gear("limit", "web", *words)
        assert refused.code != 0 and reason in refused.err and "gear update web" in refused.err
    assert gear.tree() == before
    # Files can be forgotten, and 40 are not more than 40.
    gear.ok("limit", "web", "--memory", "128m", "--pids", "40")
    assert group.group.bounds().memory == 128 * MIB


def test_one_that_does_not_run_has_them_at_its_start(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    assert gear.ok("limit", "web", "--memory", "99m") == "web is changed; it does not run now\n"
    assert f"--memory {99 * MIB}" in gear.ok("cat", "web")
    assert gear("limit", "nobody", "--memory", "99m").code == 5


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "which limits of web?"),
        (["--memory", "1k"], "bytes of memory"),
        (["--memory", "much"], "no amount of memory"),
        (["--cpus", "-1"], "-1 CPUs"),
        (["--cpus", "nan"], "nan CPUs"),
        (["--pids", "-2"], "-2 processes"),
        (["--io-read", "1k"], "1024 bytes read a second"),
        (["--memory-swap", "100m"], "less than the memory alone, 512M"),
        (["--memory", "0", "--memory-swap", "100m"], "no limit of memory"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(gear: Terminal, words: list[str], reason: str) -> None:
    started(gear)
    before = gear.tree()
    refused = gear("limit", "web", *words)
    assert (refused.code, reason in refused.err) == (64, True), refused.err
    assert gear.tree() == before


def test_swap(gear: Terminal) -> None:
    group = started(gear, "--memory", "100m", "--memory-swap", "100m")
    assert group["memory.swap.max"] == "0"
    gear.ok("limit", "web", "--memory-swap", "0")
    assert group["memory.swap.max"] == "max"
    gear.ok("limit", "web", "--memory-swap", "150m")
    assert group["memory.swap.max"] == str(50 * MIB)
    assert "memory 100M, memory-swap 150M" in gear.ok("status", "web")


def test_reading_and_writing(gear: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_of = Mock(return_value="254:0")  # whatever tests' files are on
    monkeypatch.setattr(control_groups, "disk_of", disk_of)
    group = started(gear)
    gear.ok("limit", "web", "--io-read", "1m", "--io-write", "2m")
    assert group["io.max"] == f"254:0 rbps={MIB} wbps={2 * MIB}"
    status = gear.ok("status", "web")
    assert "pids 1024, io-read 1M/s, io-write 2M/s; slice" in status and "In force" not in status
    assert f'GEAR_IO="{MIB} {2 * MIB}"' in gear.ok("cat", "web")
    gear.ok("limit", "web", "--io-read", "0")
    assert group["io.max"] == f"254:0 rbps=max wbps={2 * MIB}"
    disk_of.return_value = ""
    refused = gear("limit", "web", "--io-read", "1m")
    assert refused.code == 64 and "is on no disk" in refused.err


def test_what_control_groups_of_version_1_do_not_see_is_refused(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")  # a machine without a file of version 2
    refused = gear("limit", "web", "--io-write", "1m")
    assert refused.code == 64 and "version 1 do not see" in refused.err


def test_swap_that_the_kernel_does_not_count_is_refused(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    for words in (["limit", "web"], ["update", "web"], ["install", "geard/sample", "db"]):
        refused = gear(*words, "--memory-swap", "1g")
        assert refused.code == 64 and "does not count swap" in refused.err


def test_use_once_for_programs(gear: Terminal) -> None:
    group = started(gear)
    group.uses(memory=20 * MIB, pids=3, seconds=1)
    (row,) = [row for row in json.loads(gear.ok("top", "-d", "0.1", "-o", "json")) if "Id" in row]
    assert (row["Id"], row["Memory"], row["MemoryLimit"]) == ("web", 20 * MIB, 512 * MIB)
    assert (row["Pids"], row["PidsLimit"], row["CpuSeconds"], row["Cpus"]) == (3, 1024, 1, 0)
    table = gear.ok("top", "-d", "0.1", "web").splitlines()
    assert table[0].split()[:3] == ["NAME", "CPU", "OF"]
    assert table[1].split()[:5] == ["web", "0.0%", "-", "20M", "512M"]
    assert gear.ok("top", "-d", "0.1", "-o", "name") == "web\n"


def test_live_on_a_terminal(gear: Terminal) -> None:
    started(gear)
    drawn = gear("top", "-n", "2", "-d", "0.1", terminal=True).out
    assert drawn.count("\x1b[H") == 2 and drawn.count("\x1b[2J") == 1
    assert drawn.count("web") == 2


def test_one_that_does_not_run_uses_nothing(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    assert json.loads(gear.ok("top", "-d", "0.1", "-o", "json", "web")) == []
    assert gear("top", "-d", "0.1", "nobody").code == 5
    assert "Use:" not in gear.ok("status", "web")


def test_a_disk_that_is_held_to_something_else() -> None:
    def told(in_force: int, quota: int | None) -> list[str]:
        return bounding.disk_difference(DiskUse(0, in_force), Limits(quota=quota))

    assert told(8 * MIB, 16 * MIB) == ["quota 8M, not 16M"]
    assert told(0, 16 * MIB) == ["quota without limit, not 16M"]
    assert told(8 * MIB, 0) == ["quota 8M, not without limit"]
    assert told(8 * MIB, 8 * MIB - 1) == [], "a file system counts in blocks"
    assert told(0, None) == told(0, 0) == bounding.disk_difference(None, Limits(quota=MIB)) == []
