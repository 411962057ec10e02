"""Versions at a terminal: what update changes, what history shows, what rollback brings back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fakes.engine import make_image
from tests.fakes.systemd import Program
from tests.fakes.terminal import Terminal

from geard.containers.folders import Folders

NEWER = make_image("docker.io/geard/sample", ports=((8080, "tcp"), (9090, "tcp")), content="newer")


def status(gear: Terminal, name: str = "web") -> dict[str, Any]:
    (found,) = json.loads(gear.ok("status", name, "-o", "json"))
    answer: dict[str, Any] = found
    return answer


def kept(gear: Terminal, name: str = "web") -> list[dict[str, Any]]:
    (found,) = json.loads(gear.ok("history", name, "-o", "json"))
    answer: list[dict[str, Any]] = found["Versions"]
    return answer


def ports(gear: Terminal, name: str = "web") -> dict[int, int]:
    (found,) = json.loads(gear.ok("ports", name, "-o", "json"))
    return {row["Internal"]: row["External"] for row in found["Ports"]}


def test_update_changes_what_is_said_and_leaves_the_rest(gear: Terminal) -> None:
    gear.ok(
        "install",
        "geard/sample",
        "web",
        "-p",
        "8080:4100",
        "A=b",
        "--label",
        "x=y",
        "--start",
        "--",
        "serve",
        "it",
    )
    said = gear("update", "web", "--memory", "256m", "C=d", "--label", "z=1", "--label", "x=")
    assert (said.code, said.lines) == (0, ["web is running"])
    text = gear.ok("cat", "web")
    assert '"Command":["serve","it"]' in text
    assert '"Labels":{"z":"1"}' in text
    assert "memory       256M             asked" in text
    assert ports(gear) == {8080: 4100}
    assert gear.ok("env", "web") == "A=b\nC=d\n"
    found = status(gear)
    assert found["RunningVersion"] == found["InstalledVersion"] == kept(gear)[0]["Version"]
    assert gear.host.systemd.told_about("ctr-web.service") == ["start", "restart"]


def test_update_of_a_stopped_gear_leaves_it_stopped(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    assert gear.ok("update", "web", "-p", "8080:4200") == "web is changed; it comes with the next start\n"
    assert gear.host.systemd.told_about("ctr-web.service") == []
    assert ports(gear) == {8080: 4200}


def test_update_later_leaves_what_runs_alone_and_status_says_both_versions(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    gear.ok("update", "web", "--pids", "99", "--later")
    found = status(gear)
    assert found["RunningVersion"] != found["InstalledVersion"]
    assert f"running {found['RunningVersion']}, installed {found['InstalledVersion']}" in gear.ok("status", "web")
    new, old = kept(gear)
    assert (new["Installed"], new["Running"], old["Installed"], old["Running"]) == (True, False, False, True)
    assert new["Changes"] == ["pids 1024 -> 99"]


def test_update_of_nothing_takes_the_newest_image_of_its_name(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    before = status(gear)
    assert gear("restart", "web").code == 0
    gear.host.engine.registry[NEWER.names[0]] = NEWER
    gear.ok("stop", "web")
    gear.ok("start", "web")
    assert status(gear)["ImageId"] == before["ImageId"], "a start never picks another image"
    gear.ok("update", "web")
    assert status(gear)["ImageId"] == NEWER.id
    assert set(ports(gear)) == {8080, 9090}, "and what it exposes is published"
    assert gear.ok("update", "web") == "web is running\n"
    assert len(kept(gear)) == 2, "nothing newer: no version"


def test_an_update_that_the_registry_refuses_leaves_the_gear_as_it_was(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    there = gear.tree()
    gear.host.engine.refuses = "Error: unauthorized: authentication required"
    said = gear("update", "web", "--image", "geard/other")
    assert said.code == 4
    assert "does not hand out docker.io/geard/other:latest" in said.err
    assert {name: text for name, text in gear.tree().items() if "/pulls" not in name} == {
        name: text for name, text in there.items() if "/pulls" not in name
    }
    assert status(gear)["ActiveState"] == "active"


def test_update_of_what_is_not_there_is_not_found(gear: Terminal) -> None:
    said = gear("update", "web", "--memory", "1g")
    assert (said.code, gear.tree()) == (5, gear.tree())
    assert "there is no gear web" in said.err
    assert not Folders.of(gear.host.paths, "web").bucket.exists()


def test_rollback_brings_back_the_version_before_with_its_ports(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    first = status(gear)["InstalledVersion"]
    gear.ok("update", "web", "-p", "8080:4200", "--memory", "1g")
    assert ports(gear) == {8080: 4200}
    said = gear("rollback", "web")
    assert (said.code, said.lines[-1]) == (0, "web is running")
    found = status(gear)
    assert found["InstalledVersion"] == found["RunningVersion"] == first
    assert ports(gear) == {8080: 4100}
    gear.ok("rollback", "web", kept(gear)[0]["Version"])
    assert ports(gear) == {8080: 4200}


def test_rollback_says_which_version_is_back_and_history_what_an_image_became(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    first = kept(gear)[0]
    gear.host.engine.registry[NEWER.names[0]] = NEWER
    gear.ok("update", "web")
    short = [each["ImageId"].removeprefix("sha256:")[:12] for each in (first, kept(gear)[0])]
    assert kept(gear)[0]["Changes"][0] == f"image geard/sample is another now: {short[0]} -> {short[1]}"
    assert f"Container web is back at version {first['Version']}" in gear.ok("rollback", "web")
    assert "is installed unchanged" in gear.ok("rollback", "web", first["Version"]), "asked again, nothing changes"


def test_rollback_to_a_port_that_is_anothers_by_now_changes_nothing(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    gear.ok("update", "web", "-p", "8080:4200")
    gear.ok("install", "geard/sample", "thief", "-p", "8080:4100")
    there = gear.tree()
    said = gear("rollback", "web")
    assert said.code == 1
    assert "port 4100/tcp belongs to gear thief" in said.err
    assert gear.tree() == there


def test_rollback_of_the_first_version_and_of_one_that_is_not_there(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    assert "web has no earlier version" in gear("rollback", "web").err
    said = gear("rollback", "web", "nonsense")
    assert said.code == 5
    assert "web has no version nonsense" in said.err


def test_an_update_amid_a_start_of_what_was_before_starts_anew(gear: Terminal) -> None:
    """A start that merged with the one under way would end with it, whatever is installed by now."""
    gear.ok("install", "geard/sample", "web")
    gear.host.systemd._load("ctr-web.service").become("activating", "start-pre")  # pyright: ignore[reportPrivateUsage]
    gear.ok("install", "geard/sample", "web", "--pids", "60", "--start")
    assert gear.host.systemd.told_about("ctr-web.service")[-1] == "restart"


def test_several_updates_in_a_row_keep_the_newest_versions(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    for number in range(1, 8):
        gear.ok("update", "web", "--pids", str(number * 100))
    found = kept(gear)
    assert [row["Changes"] for row in found[:2]] == [["pids 600 -> 700"], ["pids 500 -> 600"]]
    assert len(found) == 5
    assert [row["Installed"] for row in found] == [True, False, False, False, False]


def test_a_version_that_does_not_stay_up_says_how_to_go_back(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    gear.host.systemd.programs["ctr-web.service"] = Program(status=3)
    said = gear("update", "web", "--pids", "100")
    assert said.code == 1
    assert "gear rollback web" in said.err


def test_drop_ins_of_an_admin_are_kept_and_shown(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    drop_in = Folders.of(gear.host.paths, "web").drop_ins / "mine.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nNice=5\n")
    gear.ok("update", "web", "--pids", "100")
    gear.ok("rollback", "web")
    assert "Nice=5" in gear.ok("cat", "web")
    assert drop_in.read_text() == "[Service]\nNice=5\n"


@pytest.mark.parametrize("gear", ["local"], indirect=True)
def test_the_image_a_version_names_is_pulled_by_digest_when_it_is_gone(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    pinned = gear.host.engine.here[0]
    gear.host.engine.here.clear()
    gear.host.engine.registry[NEWER.names[0]] = NEWER
    gear.host.engine.registry[f"docker.io/geard/sample@{pinned.digest}"] = pinned
    gear.ok("complete", "web")
    assert gear.host.engine.here == [pinned]
    gear.host.engine.here.clear()
    gear.host.engine.registry.pop(f"docker.io/geard/sample@{pinned.digest}")
    said = gear("complete", "web")
    assert said.code == 5
    assert "docker.io/geard/sample@" in said.err
