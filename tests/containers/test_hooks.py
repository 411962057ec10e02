"""The admin's own programs: told of every new gear before it runs, over crashes too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fakes.terminal import Terminal

from geard.containers.folders import Folders


@pytest.fixture
def told(gear: Terminal, tmp_path: Path) -> Path:
    """Where the program of this host writes what it is told, a line each; it fails while `broken` is there."""
    record, program = tmp_path / "told", tmp_path / "program"
    fail = f"[ -e {tmp_path}/broken ] && {{ echo no rules >&2; exit 3; }}"
    program.write_text(f"#!/bin/sh\n{fail}\ncat >>{record}\necho >>{record}\n")
    program.chmod(0o755)
    argv = json.dumps([str(program)])
    (gear.host.paths.settings / "geard.toml").write_text(
        f"[hooks]\nadded = {argv}\nchanged = {argv}\ndeleted = {argv}\n"
    )
    record.touch()
    return record


def occasions(told: Path) -> list[tuple[str, str]]:
    return [(found["Occasion"], found["Id"]) for found in map(json.loads, told.read_text().splitlines())]


def test_each_new_gear_is_told_of_once_with_its_ports_and_address(gear: Terminal, told: Path) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    gear.ok("restart", "web")
    (found,) = map(json.loads, told.read_text().splitlines())
    assert (found["Occasion"], found["Id"], found["Ports"][0]["External"]) == ("added", "web", 4100)
    assert found["Ipv4"].startswith("10.183.")
    gear.ok("update", "web", "--pids", "50")
    gear.ok("delete", "web")
    assert occasions(told) == [("added", "web"), ("changed", "web"), ("deleted", "web")]


def test_a_gear_does_not_run_before_its_program_has_ended_well(gear: Terminal, told: Path) -> None:
    broken = told.with_name("broken")
    broken.touch()
    said = gear("install", "geard/sample", "web", "--start")
    assert said.code == 1
    assert "no rules" in said.err
    assert Folders.of(gear.host.paths, "web").hook_owed.read_text() == "added"
    broken.unlink()
    gear.ok("start", "web")
    assert occasions(told) == [("added", "web")]
    assert not Folders.of(gear.host.paths, "web").hook_owed.exists()


def test_a_deletion_is_not_held_up(gear: Terminal, told: Path) -> None:
    gear.ok("install", "geard/sample", "web")
    told.with_name("broken").touch()
    assert gear("delete", "web").code == 0
    assert not Folders.of(gear.host.paths, "web").bucket.exists()
