"""`gear doctor` and /healthz as they are asked for, on a host of fakes, without an agent and through one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.daemon.belfry import RunningAgent
from tests.fakes.host import FakeHost
from tests.fakes.systemd import Program
from tests.fakes.terminal import Terminal
from tests.fakes.terminal import agent as agent_on

from geard.doctor import checks, commands, operations
from geard.failures import Unavailable
from geard.host.process import Finished


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of text files below, and programs that say what is well."""
    root = tmp_path / "root"
    for name, text in {
        "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
        "proc/self/ns/user": "",
        "proc/sys/kernel/seccomp/actions_avail": "errno allow\n",
        "proc/sys/user/max_user_namespaces": "1000\n",
        "proc/self/mountinfo": "22 1 8:1 / / rw - xfs /dev/sda rw,prjquota\n",
        "sys/module/apparmor/parameters/enabled": "Y\n",
        "var/log/journal/x": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(operations, "ROOT", root)

    async def run(argv: list[str], *, check: bool = True) -> Finished:
        return Finished(0, "table inet geard\ntable bridge geard\n" if "nft" in argv[0] else "", "")

    monkeypatch.setattr(checks, "run", run)
    return root


def diagnosis(gear: Terminal) -> tuple[int, dict[str, dict[str, Any]]]:
    said = gear("doctor", "-o", "json")
    (found,) = json.loads(said.out)
    return said.code, {each["What"]: each for each in found["Findings"]}


def test_a_host_looked_over(gear: Terminal, machine: Path) -> None:
    (gear.host.paths.run / "host-ready").touch()
    _, found = diagnosis(gear)
    assert found["rules that keep gears apart"]["State"] == "ok"
    assert found["control groups"]["Detail"] == "version 2: cpu memory pids"
    assert found["gears"]["Detail"] == "0 run, none has failed"
    assert found["storage of podman"] == {
        "What": "storage of podman", "State": "ok", "Detail": "overlay", "Costs": "", "Remedy": ""
    }  # fmt: skip
    assert {"systemd", "podman", "nft", "settings", "subordinate ids", "SELinux, AppArmor"} <= found.keys()
    assert {"disk quota", "disk", "journal", "clock", "ports", "agent", "units"} <= found.keys()


def test_what_is_bad_comes_first_and_is_an_exit_code(gear: Terminal, machine: Path) -> None:
    (machine / "sys/fs/cgroup/cgroup.controllers").write_text("cpu pids\n")
    said = gear("doctor")
    assert said.code == 1
    assert "  broken  control groups: without memory" in said.out
    first = [line.split()[0] for line in said.lines if line[:8].strip() and not line.strip().startswith("->")]
    order = ["broken", "missing", "advice", "ok"]
    assert [order.index(word) for word in first] == sorted(order.index(word) for word in first)
    index = next(n for n, line in enumerate(said.lines) if "control groups" in line)
    assert "limits of memory hold nobody" in said.lines[index + 1]
    assert said.lines[index + 2].strip().startswith("-> boot without")


def test_gears_that_failed_were_changed_or_are_not_known(gear: Terminal) -> None:
    for name in ("web", "changed", "lost", "cut"):
        gear.ok("install", "geard/sample", name)
    gear.host.systemd.programs["ctr-web.service"] = Program(fails=True)
    assert gear("start", "web").code == 1
    base = gear.host.paths.base / "units"
    unit = base / "ch" / "ctr-changed.service"
    text = unit.read_text()
    unit.unlink()
    unit.write_text(text + "# mine\n")
    (gear.host.paths.systemd / "ctr-lost.service").unlink()
    (base / "cu" / "ctr-cut.run").write_text("")
    code, found = diagnosis(gear)
    assert code == 1
    assert found["gears"]["Detail"].startswith("failed: web;")
    assert found["gears"]["Remedy"] == "gear status web"
    assert found["definitions"]["Detail"] == "cut"
    said = gear("doctor").out
    assert "not as installed: changed" in said
    assert "systemd has no link to lost" in said


def test_settings_that_are_wrong(gear: Terminal) -> None:
    (gear.host.paths.settings / "geard.toml").write_text('[ports]\nrange = "all"\n')
    code, found = diagnosis(gear)
    assert code == 1
    assert (found["settings"]["State"], "range" in found["settings"]["Detail"]) == ("broken", True)


def test_a_check_that_cannot_be_made_keeps_no_other_from_being_made(
    gear: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def storage_driver() -> str:
        raise Unavailable("podman does not answer", hint="wait")

    monkeypatch.setattr(gear.host.engine, "storage_driver", storage_driver)
    code, found = diagnosis(gear)
    assert code == 1
    assert found["storage of podman"]["Detail"] == "cannot be looked at: podman does not answer"
    assert "clock" in found


def test_each_lack_says_what_it_costs_and_what_helps(
    gear: Terminal, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with next to nothing."""
    shutil.rmtree(machine)
    monkeypatch.setattr(shutil, "which", nothing)
    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    for engine in gear.host.engines.values():
        monkeypatch.setattr(engine, "version", no_answer)
    monkeypatch.setattr(gear.host.systemd, "version", no_answer)
    code, found = diagnosis(gear)
    assert code == 1
    lacks = {what for what, each in found.items() if each["State"] != "ok"}
    assert {"systemd", "podman", "nft", "python3-systemd", "user namespaces", "disk quota"} <= lacks
    assert {"SELinux, AppArmor", "control groups", "journal", "rules that keep gears apart"} <= lacks
    for what in lacks:
        assert found[what]["Costs"] and found[what]["Remedy"], what


def nothing(name: str, path: str = "") -> None:
    """There is none of that name."""


async def no_answer() -> str:
    raise Unavailable("it does not answer")


def test_another_geard_than_ones_own_is_told(gear: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "versions" not in diagnosis(gear)[1]
    monkeypatch.setattr(commands, "__version__", "9.9")
    assert "this gear is 9.9" in diagnosis(gear)[1]["versions"]["Detail"]


def test_an_agent_older_than_what_is_installed(gear: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "installed_version", lambda: "9.9")
    assert "9.9 is installed" in diagnosis(gear)[1]["version"]["Detail"]


@pytest.fixture
def agent(fake_host: FakeHost, tmp_path: Path) -> Generator[RunningAgent]:
    tmp_path.chmod(0o755)
    with agent_on(fake_host, tmp_path) as socket:
        yield RunningAgent(socket, 0)


def test_healthz_is_ok_or_says_what_is_not(
    agent: RunningAgent, fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = agent.ask("GET", "/healthz")
    assert (reply.status, reply.text) == (200, "ok\n")
    assert agent.ask("GET", "/healthz", Accept="application/json").json == {"Status": "ok"}
    shutil.rmtree(fake_host.paths.base)
    monkeypatch.setattr(fake_host.engine, "is_installed", lambda: False)

    async def state(unit: str) -> None:
        raise Unavailable("the system bus does not answer")

    monkeypatch.setattr(fake_host.systemd, "state", state)
    reply = agent.ask("GET", "/healthz")
    assert reply.status == 503
    assert reply.json["Kind"] == "Unavailable"
    assert "the system bus does not answer" in reply.json["Data"]["Systemd"]
    assert reply.json["Data"]["Engine"] == "podman is not installed"
    assert reply.json["Data"]["Disk"].endswith(os.strerror(2))
