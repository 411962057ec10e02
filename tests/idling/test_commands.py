"""`gear idle`, `--idle-after`, and what falls asleep by itself; the waker is the lab's to try."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from tests.fakes.terminal import Terminal

from geard.cli.main import root
from geard.containers.folders import Folders, unit_name
from geard.failures import Invalid
from geard.host.storage import Changes
from geard.idling import metrics
from geard.idling.services import Watch
from geard.idling.settings import IdlingSettings
from geard.jobs.records import JobFolders, JobRecord, boot_id, claim, write

SNMP = "Tcp: ActiveOpens PassiveOpens\nTcp: 0 {}\n"


def state(gear: Terminal, name: str) -> str:
    rows = json.loads(gear.ok("list", "-a", "-o", "json"))
    return next(str(row["ActiveState"]) for row in rows if row["Id"] == name)


def fails(gear: Terminal, *words: str) -> str:
    said = gear(*words)
    assert said.code != 0
    return said.err


def waker(gear: Terminal) -> None:
    gear.host.systemd.packaged["geard-waker.service"] = "[Service]\nExecStart=/bin/true\n"


def test_idle_and_what_ends_it(gear: Terminal) -> None:
    waker(gear)
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    folders = Folders.of(gear.host.paths, "web")
    held = gear.host.paths.run / "idle/ctr-web"
    for verb, after in (("start", "active"), ("restart", "active"), ("stop", "inactive")):
        assert "web is idle: it is stopped" in gear.ok("idle", "web")
        assert "web is idle" in gear.ok("idle", "web"), "again is harmless"
        assert state(gear, "web") == "idle"
        assert (folders.idle.exists(), folders.wanted.is_symlink()) == (True, False)
        assert held.read_text() == "tcp 4100 8080 *\n"
        gear.ok(verb, "web")
        assert (state(gear, "web"), folders.idle.exists(), held.exists()) == (after, False, False)
    gear.ok("idle", "web")
    gear.ok("install", "geard/sample", "web", "-p", "8080:4200")
    assert held.read_text() == "tcp 4200 8080 *\n"
    gear.ok("delete", "web")
    assert (folders.idle.exists(), held.exists()) == (False, False)


def test_a_boot_leaves_idle_gears_idle(gear: Terminal) -> None:
    waker(gear)
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    gear.ok("idle", "web")
    held = gear.host.paths.run / "idle/ctr-web"
    held.unlink()
    folders = Folders.of(gear.host.paths, "web")
    folders.wanted.symlink_to(folders.unit)  # a power cut came between the flag and that
    if gear.way == "http":
        return  # a boot is the machine's own affair
    gear.ok("boot")
    assert state(gear, "web") == "idle"
    assert held.read_text() == "tcp 4100 8080 *\n"
    assert not folders.wanted.is_symlink()


def test_one_that_nothing_could_wake_does_not_idle(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "none")
    assert "it publishes no TCP port" in fails(gear, "idle", "web")
    assert "there is no gear" in fails(gear, "idle", "nothing").casefold() or "nothing" in fails(
        gear, "idle", "nothing"
    )


def test_what_says_when_it_falls_asleep(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--idle-after", "15m")
    assert "Falls asleep: after 15m without a connection (stop)" in gear.ok("status", "web")
    gear.ok("update", "web", "--idle-depth", "freeze")
    assert "after 15m without a connection (freeze)" in gear.ok("status", "web")
    gear.ok("update", "web", "--idle-after", "never")
    assert "Falls asleep" not in gear.ok("status", "web")
    gear.ok("install", "geard/sample", "db", "-p", "5432:4101")
    (gear.host.paths.settings / "geard.toml").write_text('[idling]\nafter = "2h"\ndepth = "freeze"\n')
    assert "after 2h without a connection (freeze)" in gear.ok("status", "db")
    assert "Falls asleep" not in gear.ok("status", "web")
    gear.ok("update", "web", "--asleep", "22:00-06:00", "--wake-from", "10.1.2.3/8", "--wake-from", "::1")
    told = gear.ok("status", "web")
    assert "Falls asleep: 22:00-06:00, after 1m without a connection (freeze)" in told
    assert "Woken from: 10.0.0.0/8, ::1/128" in told
    gear.ok("update", "web", "--wake-from", "all", "--asleep", "never")
    assert not {"Woken from", "22:00"} & set(gear.ok("status", "web").split(": "))
    assert "22:00-06:00" in fails(gear, "install", "geard/sample", "hot", "--asleep", "at night")
    assert "no network" in fails(gear, "install", "geard/sample", "hot", "--wake-from", "everywhere")
    assert "no name of a network" in fails(gear, "install", "geard/sample", "hot", "--wake-interface", "eth0/1")
    assert "a minute at least" in fails(gear, "install", "geard/sample", "hot", "--idle-after", "5s")


def test_who_may_wake_it_is_told_to_the_waker(gear: Terminal) -> None:
    waker(gear)
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--wake-from", "10.0.0.0/8", "--wake-from", "::1")
    gear.ok("idle", "web")
    held = gear.host.paths.run / "idle/ctr-web"
    assert held.read_text() == "tcp 4100 8080 *\nfrom 10.0.0.0/8 ::1/128\n"
    gear.ok("update", "web", "--wake-from", "all", "--wake-when", "ready")
    assert held.read_text() == "tcp 4100 8080 *\nwhen ready\nfrom 0.0.0.0/0 ::/0\n", "whatever the machine's say"
    assert "--sdnotify=container" in gear.ok("cat", "web")
    gear.ok("update", "web", "-p", "8080:4100,53:5300/udp", "--wake-udp", "--wake-when", "listens")
    assert held.read_text() == "tcp 4100 8080 *\nudp 5300 53 *\nfrom 0.0.0.0/0 ::/0\n"


def test_by_which_interfaces_they_come_is_told_to_the_waker(gear: Terminal) -> None:
    waker(gear)
    gear.ok(
        "install", "geard/sample", "web", "-p", "8080:4100", "--wake-interface", "eth0", "--wake-interface", "wg*"
    )
    gear.ok("idle", "web")
    held = gear.host.paths.run / "idle/ctr-web"
    assert held.read_text() == "tcp 4100 8080 *\nfrom eth0 wg*\n"
    assert "Woken through: eth0, wg*" in gear.ok("status", "web")
    gear.ok("update", "web", "--wake-from", "10.0.0.0/8")
    assert held.read_text() == "tcp 4100 8080 *\nfrom 10.0.0.0/8 eth0 wg*\n", "both hold"
    gear.ok("update", "web", "--wake-interface", "all")
    assert held.read_text() == "tcp 4100 8080 *\nfrom 10.0.0.0/8 *\n", "whatever the machine's say"
    assert "Woken through" not in gear.ok("status", "web")
    (gear.host.paths.settings / "geard.toml").write_text('[idling]\nwake-interfaces = ["eth0"]\n')
    assert "Woken through" not in gear.ok("status", "web")
    gear.ok("install", "geard/sample", "db", "-p", "5432:4101")
    assert "Woken through: eth0" in gear.ok("status", "db")


def test_the_names_of_interfaces_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo"), (2, "wg0"), (3, "eth0"), (4, "eth1")])
    shell = ShellComplete(root, {}, "gear", "_GEAR")
    found = shell.get_completions(["install", "geard/sample", "web", "--wake-interface"], "eth")
    assert [item.value for item in found] == ["eth0", "eth1"]


def test_what_a_slice_says(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100")
    settings = gear.host.paths.settings / "geard.toml"
    settings.write_text('[idling]\nafter = "2h"\nslices = { container-small = "5m" }\n')
    assert "Falls asleep: after 5m without a connection (stop)" in gear.ok("status", "web")
    for wrong, key in (
        (IdlingSettings(slices={"a": "5s"}), "slices.a"),
        (IdlingSettings(asleep="late"), "asleep"),
    ):
        with pytest.raises(Invalid, match=f"^{key}: "):
            wrong.check()


def test_how_long_they_are_idle_and_what_that_saves(gear: Terminal) -> None:
    waker(gear)
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    gear.ok("idle", "web")
    flag = Folders.of(gear.host.paths, "web").idle
    assert [line.split()[0] for line in flag.read_text().splitlines()] == ["depth", "since", "memory"]
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="seconds")
    flag.write_text(f"depth stop\nsince {since}\nmemory 5000000\n")
    seconds, saved = (dict(measure.values)[""] for measure in asyncio.run(metrics.measure(gear.host)))
    assert 3600 <= seconds < 3700
    assert saved == 5_000_000
    flag.write_text("depth stop\nsince whenever\nmemory x\n")
    assert [dict(measure.values)[""] for measure in asyncio.run(metrics.measure(gear.host))] == [0, 0]


def test_a_job_in_it_keeps_it_awake(gear: Terminal, tmp_path: Path) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:0", "--idle-after", "2m", "--start")
    net = tmp_path / "proc/10/net"
    net.mkdir(parents=True)
    (net / "snmp").write_text(SNMP.format(1))
    state = Folders.of(gear.host.paths, "web").state
    state.mkdir(parents=True, exist_ok=True)
    (state / "pid").write_text("10")
    job = JobFolders.of(gear.host.paths, "migrate")
    with Changes() as changes:
        claim(job, changes, "request")
        write(job, changes, JobRecord(id="migrate", request="request", created="", boot=boot_id(), gear="web"))
    watch = Watch(gear.host, tmp_path / "proc")
    assert watch.look({unit_name("web")}, 0) == watch.look({unit_name("web")}, 1000) == []
    job.result.write_text("{}")
    assert watch.look({unit_name("web")}, 1015) == []
    assert watch.look({unit_name("web")}, 1200) == [("web", "stop")]


def have_run(gear: Terminal, proc: Path, *names: str) -> None:
    """As processes from 10 on, with one connection taken in each."""
    for number, name in enumerate(names, start=10):
        net = proc / f"{number}/net"
        net.mkdir(parents=True)
        (net / "snmp").write_text(SNMP.format(1))
        state = Folders.of(gear.host.paths, name).state
        state.mkdir(parents=True, exist_ok=True)
        (state / "pid").write_text(str(number))


def test_the_agents_look(gear: Terminal, tmp_path: Path) -> None:
    for name in ("web", "db", "never"):
        after = ("--idle-after", "never" if name == "never" else "2m")
        gear.ok("install", "geard/sample", name, "-p", "8080:0", *after, "--start")
    have_run(gear, tmp_path / "proc", "web", "db", "never")
    watch = Watch(gear.host, tmp_path / "proc")
    active = {unit_name(name) for name in ("web", "db", "never")}
    assert watch.look(active, 0) == []
    assert watch.look(active, 100) == []
    (tmp_path / "proc/11/net/snmp").write_text(SNMP.format(2))
    assert watch.look(active, 130) == [("web", "stop")], "db was asked, never never falls asleep"
    assert watch.look(active - {unit_name("web")}, 260) == [("db", "stop")]


def test_a_clock_that_is_set_puts_nobody_to_sleep(
    gear: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:0", "--idle-after", "30m", "--start")
    gear.ok("install", "geard/sample", "night", "-p", "8080:0", "--asleep", "22:00-06:00", "--start")
    have_run(gear, tmp_path / "proc", "web", "night")
    watch, active = Watch(gear.host, tmp_path / "proc"), {unit_name("web"), unit_name("night")}
    clock = [21]

    def at_hour(seconds: float | None = None) -> time.struct_time:
        return time.struct_time((2026, 11, 28, clock[0], 30, 0, 5, 332, 0))

    monkeypatch.setattr("geard.idling.services.time.localtime", at_hour)
    assert watch.look(active, 0) == []
    clock[0] = 22  # an hour forward, within a look's time
    assert watch.look(active, 15) == []
    assert watch.look(active, 75) == [("night", "stop")], "a minute without a connection, as ever"
    clock[0] = 20
    assert watch.look(active, 90) == [], "and back"
    assert watch.look(active, 1800) == [("web", "stop")]


@pytest.mark.parametrize("depth", ["deep", ""])
def test_depths(gear: Terminal, depth: str) -> None:
    assert "--depth" in fails(gear, "idle", "web", "--depth", depth)
