"""A gear's life, as somebody at a terminal sees it: without an agent, and through one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.engine import make_image
from tests.fakes.systemd import Program
from tests.fakes.terminal import Terminal

from geard.containers.folders import Folders
from geard.images import pulling
from geard.images.names import pull_key


def status(gear: Terminal, name: str) -> dict[str, Any]:
    (found,) = json.loads(gear.ok("status", name, "-o", "json"))
    answer: dict[str, Any] = found
    return answer


# --- install


def test_install_says_so_and_systemd_knows_the_unit(gear: Terminal) -> None:
    said = gear("install", "geard/sample", "web")
    assert (said.code, said.err) == (0, "")
    assert "Container web is installed" in said.lines
    assert gear.host.systemd.told_about("ctr-web.service") == []
    folders = Folders.of(gear.host.paths, "web")
    assert folders.known.readlink() == folders.unit
    assert not folders.wanted.is_symlink()


def test_install_with_start_runs_it_now_and_after_a_boot(gear: Terminal) -> None:
    said = gear("install", "geard/sample", "web", "--start", "-p", "8080:4100")
    assert (said.code, said.err) == (0, "")
    assert said.lines[:2] == ["PortMapping: 8080 -> 4100", "Container web is installed and is starting"]
    assert "web is running" in said.lines
    assert gear.host.systemd.told_about("ctr-web.service") == ["start"]
    found = status(gear, "web")
    assert (found["ActiveState"], found["SubState"], found["Started"]) == ("active", "running", True)
    assert found["RunningVersion"] == found["InstalledVersion"] != ""


def test_the_ports_an_image_exposes_are_published_and_none_if_so_asked(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    gear.ok("install", "geard/sample", "shut", "-p", "none")
    assert [row["External"] for row in json.loads(gear.ok("ports", "web", "-o", "json"))[0]["Ports"]] == [4000]
    assert json.loads(gear.ok("ports", "shut", "-o", "json"))[0]["Ports"] == []


def test_several_at_once_each_line_with_its_name(gear: Terminal) -> None:
    said = gear("install", "geard/sample", "web-1", "web-2", "A=b", "--start")
    assert said.code == 0
    assert all(line.startswith(("web-1: ", "web-2: ")) for line in said.lines)
    assert gear.ok("env", "web-1") == gear.ok("env", "web-2") == "A=b\n"


def test_what_stands_behind_two_dashes_is_the_command(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "A=b", "--", "serve", "--port", "A=c", "-p", "x y")
    text = gear.ok("cat", "web")
    assert '"Command":["serve","--port","A=c","-p","x y"]' in text
    assert gear.ok("env", "web") == "A=b\n"


def test_the_same_again_changes_nothing_and_says_so(gear: Terminal) -> None:
    words = ("install", "geard/sample", "web", "-p", "8080:0", "A=b", "--start")
    gear.ok(*words)
    there = gear.tree()
    assert "Container web is installed unchanged and is starting" in gear.ok(*words)
    assert gear.tree() == there
    assert gear.host.systemd.told_about("ctr-web.service") == ["start"]


def test_a_change_of_a_running_gear_waits_for_the_next_start_or_is_brought_in_by_start(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    gear.ok("install", "geard/sample", "web", "--memory", "256m")
    found = status(gear, "web")
    assert found["RunningVersion"] != found["InstalledVersion"]
    assert any("gear restart web" in line for line in found["Advice"])
    gear.ok("install", "geard/sample", "web", "--memory", "256m", "--start")
    found = status(gear, "web")
    assert found["RunningVersion"] == found["InstalledVersion"]
    assert gear.host.systemd.told_about("ctr-web.service") == ["start", "restart"]


def test_a_port_that_another_has_is_told_with_the_way_out_and_nothing_changes(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "first", "-p", "8080:4500")
    there = gear.tree()
    for _ in range(2):
        said = gear("install", "geard/sample", "second", "-p", "8080:4500")
        assert (said.code, said.out) == (1, "")
        assert "Error: port 4500/tcp belongs to gear first" in said.err
        assert "0 to be given a free one" in said.err
    after = {name: what for name, what in gear.tree().items() if name in there or not what.startswith("folder")}
    assert after == there


@pytest.mark.parametrize(
    "words",
    [
        ["install"],
        ["install", "geard/sample"],
        ["install", "Bad", "web"],
        ["install", "geard/sample", "a"],
        ["install", "geard/sample", "web/"],
        ["install", "geard/sample", "web", "=b"],
        ["install", "geard/sample", "web", "-p", "80"],
        ["install", "geard/sample", "web", "-p", "80:1,80:2"],
        ["install", "geard/sample", "web", "--memory", "much"],
        ["install", "geard/sample", "web", "--memory", "1m"],
        ["install", "geard/sample", "web", "--cpus", "many"],
        ["install", "geard/sample", "web", "--slice", "system"],
        ["install", "geard/sample", "web", "--restart", "sometimes"],
        ["install", "geard/sample", "web", "--label", "x"],
        ["install", "geard/sample", "web", "-v", "data"],
        ["install", "geard/sample", "web", "-v", "/a:/b:rx"],
        ["install", "geard/sample", "web", "-v", "/a/../b"],
        ["install", "geard/sample", "web", "--simple", "--isolate"],
        ["install", "geard/sample", "web", "--socket-activated"],
        ["install", "geard/sample", "web", "--stop-timeout", "-1"],
        ["install", "geard/sample", "web", "--env-file", "/nowhere/at/all"],
        ["install", "geard/sample", "web", "--env-id", "../x"],
        ["install", "geard/sample", "web", "--env-url", "file:///etc/passwd"],
        ["install", "web", "web"],
        ["start"],
        ["start", "a"],
        ["stop", "web", "--timeout", "x"],
        ["status", "x/y/z"],
        ["status", "web", "-o", "xml"],
        ["status", "web", "-n", "-1"],
        ["--request-id", "nonsense", "start", "web"],
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_happens(gear: Terminal, words: list[str]) -> None:
    there = gear.tree()
    said = gear(*words)
    assert (said.code, said.out) == (64, "")
    assert "Error: " in said.err
    assert "Traceback" not in said.err
    assert gear.tree() == there
    assert gear.host.systemd.told == []


def test_one_wrong_name_among_several_and_nobody_is_asked(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    assert gear("start", "web", "a").code == 64
    assert gear.host.systemd.told_about("ctr-web.service") == []


@pytest.mark.parametrize("option", ["--dry-run", "--print-unit"])
def test_a_dry_run_shows_what_would_be_and_writes_nothing(gear: Terminal, option: str) -> None:
    gear.ok("install", "geard/sample", "there")
    there, told = gear.tree(), list(gear.host.systemd.told)
    words = ("-p", "8080:4100", "A=b", "--start", "--memory", "256m", "--", "serve")
    text = gear.ok("install", "geard/sample", "web", "there", option, *words)
    assert "Description=Container web" in text
    assert "Description=Container there" in text
    assert "X-PortMapping=8080:4100" in text
    assert ("GEAR_RUN=" in text) == (option == "--dry-run")
    assert gear.tree() == there
    assert gear.host.systemd.told == told


def test_a_dry_run_refuses_what_an_install_would(gear: Terminal) -> None:
    assert gear("install", "geard/sample", "web", "--dry-run", "--memory", "1m").code == 64


def test_an_image_that_no_registry_has(gear: Terminal) -> None:
    said = gear("install", "geard/none", "web", "--start")
    assert said.code == 5
    assert "there is no image docker.io/geard/none:latest" in said.err
    assert "then gear update web --image IMAGE" in said.err
    # installed all the same: it is tried again at each start
    gear.host.engine.registry["docker.io/geard/none:latest"] = make_image("geard/none")
    assert "web is running" in gear.ok("start", "web")


def test_a_registry_that_refuses(gear: Terminal) -> None:
    gear.host.engine.refuses = "Error: unauthorized: authentication required"
    said = gear("install", "geard/sample", "web")
    assert said.code == 4
    assert "gear login" in said.err


def test_a_host_without_setup_says_what_to_do(gear: Terminal) -> None:
    (gear.host.paths.base / "network").unlink()
    said = gear("install", "geard/sample", "web")
    assert said.code == 1
    assert "gear setup" in said.err


def test_volumes_labels_limits_and_all_the_rest(gear: Terminal) -> None:
    gear.ok(
        "install", "geard/sample", "web", "-v", "/data,/cache", "-v", "/srv:/srv:ro",
        "--label", "tier=front", "--cpus", "0.5",
        "--pids", "99", "--memory", "1g", "--slice", "container-large", "--restart", "no", "--stop-timeout", "60",
        "--entrypoint", "/bin/x",
    )  # fmt: skip
    text = gear.ok("status", "web")
    assert "/data <- " in text
    assert "/srv <- /srv (host files, read only)" in text
    assert "tier=front" in text
    assert "memory 1G, cpus 0.5, pids 99; slice container-large" in text
    unit = gear.ok("cat", "web")
    assert "\nRestart=no\n" in unit
    assert "\nSlice=container-large.slice\n" in unit


def test_paths_with_commas_and_colons(gear: Terminal) -> None:
    source = gear.host.folder / "a,b:c\\"
    source.mkdir()
    written = str(source).replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")
    gear.ok("install", "geard/sample", "web", "-v", f"{written}:/x\\,y:ro,/z\\:")
    facts = [text.strip() for text in gear.ok("status", "web").splitlines()]
    assert f"Volume: /x,y <- {source} (host files, read only)" in facts
    assert any(text.startswith("Volume: /z: <- ") for text in facts)


def test_a_mount_of_what_is_not_there_is_refused(gear: Terminal) -> None:
    before = gear.tree()
    said = gear("install", "geard/sample", "web", "--start", "-v", "/no/such:/data")
    assert said.code == 64
    assert "there is no '/no/such' on the host" in said.err
    assert gear.tree() == before


def test_a_command_line_that_is_no_text(gear: Terminal) -> None:
    """Bytes that are not UTF-8 come as lone surrogates."""
    before = gear.tree()
    for words in (
        ["web", "A=\udcff"], ["web", "A\udcff=1"], ["w\udcff"], ["web", "--slice", "\udcff"],
        ["web", "--entrypoint", "\udcff"], ["web", "--", "sh", "\udcff"], ["web", "-v", "/\udcff"],
        ["web", "--label", "a=\udcff"], ["web", "--env-id", "\udcff"], ["web", "-p", "\udcff"],
    ):  # fmt: skip
        said = gear("install", "geard/sample", *words)
        assert said.code == 64, (words, said)
        assert "Error: " in said.err
    for words in (["start", "\udcff"], ["set-env", "web", "A=\udcff"], ["set-env", "web", "--remove", "\udcff"]):
        assert gear(*words).code == 64, words
    assert gear.tree() == before


# --- start, stop, restart


def test_start_and_stop(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    wanted = Folders.of(gear.host.paths, "web").wanted
    assert "web is running" in gear.ok("start", "web")
    assert wanted.is_symlink()
    assert "web is running" in gear.ok("start", "web")
    assert "web is stopped" in gear.ok("stop", "web")
    assert not wanted.is_symlink()
    assert status(gear, "web")["ActiveState"] == "inactive"
    assert "web is stopped" in gear.ok("stop", "web")
    assert gear.host.systemd.told_about("ctr-web.service").count("start") == 1


def test_restart_is_another_process(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    before = status(gear, "web")["Pid"]
    gear.ok("restart", "web")
    assert status(gear, "web")["Pid"] not in (0, before)


def test_a_run_from_a_time_that_is_yet_to_come_is_restarted(gear: Terminal) -> None:
    """The clock was set back since it began."""
    gear.ok("install", "geard/sample", "web", "--start")
    began = Folders.of(gear.host.paths, "web").state / "version"
    began.parent.mkdir(parents=True, exist_ok=True)
    began.touch()
    os.utime(began, (4e9, 4e9))
    before = status(gear, "web")["Pid"]
    gear.ok("restart", "web")
    assert status(gear, "web")["Pid"] not in (0, before)


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "status", "cat", "ports", "env"])
def test_what_is_not_there_is_not_found(gear: Terminal, verb: str) -> None:
    said = gear(verb, "absent")
    assert (said.code, said.out) == (5, "" if verb != "ports" else said.out)
    assert "Error: there is no " in said.err


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "status"])
def test_every_target_is_tried_and_each_failure_told_with_its_name(gear: Terminal, verb: str) -> None:
    gear.ok("install", "geard/sample", "web")
    said = gear(verb, "absent", "web", "other")
    assert said.code == 5
    assert "Error: absent: there is no gear absent here" in said.err
    assert "Error: other: there is no gear other here" in said.err
    assert "web" in said.out


def test_failures_of_different_kinds_make_a_1(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    gear.host.systemd.programs["ctr-web.service"] = Program(fails=True)
    said = gear("start", "web", "absent")
    assert said.code == 1
    assert "Error: web: " in said.err
    assert "Error: absent: " in said.err


def test_a_program_that_dies_at_once_is_told(gear: Terminal) -> None:
    gear.host.systemd.programs["ctr-web.service"] = Program(status=3)
    said = gear("install", "geard/sample", "web", "--start")
    assert said.code == 1
    assert "web does not stay up" in said.err
    assert "gear log web" in said.err
    assert status(gear, "web")["ActiveState"] == "failed"
    gear.host.systemd.programs.clear()
    assert "web is running" in gear.ok("start", "web")
    assert "reset_failed" in gear.host.systemd.told_about("ctr-web.service")


def test_a_stop_that_ran_out_of_patience_does_not_lose_the_word(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    gear.ok("stop", "web", "--timeout", "5")
    assert not Folders.of(gear.host.paths, "web").wanted.is_symlink()


def test_when_systemd_does_not_answer_the_word_is_on_record(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    gear.host.systemd.broken = "Connection refused"
    said = gear("start", "web")
    assert said.code == 1
    assert "Connection refused" in said.err
    assert Folders.of(gear.host.paths, "web").wanted.is_symlink()
    gear.host.systemd.broken = ""
    assert "web is running" in gear.ok("start", "web")


@pytest.mark.parametrize("verb", ["start", "restart", "stop"])
def test_without_waiting_the_answer_is_all(gear: Terminal, verb: str) -> None:
    gear.ok("install", "geard/sample", "web")
    out = gear.ok(verb, "--no-wait", "web")
    assert out == f"Container web is {verb}ing\n".replace("stoping", "stopping")


# --- delete


def test_delete_and_install_anew(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4500", "A=b", "--start")
    assert "Deleted web" in gear.ok("delete", "web")
    assert gear("status", "web").code == 5
    assert "stop" in gear.host.systemd.told_about("ctr-web.service")
    assert gear.ok("env", "web") == "A=b\n"
    gear.ok("install", "geard/sample", "other", "-p", "8080:4500")
    gear.ok("install", "geard/sample", "web", "--start")
    assert "web is running" in gear.ok("start", "web")


def test_deleting_what_is_not_there_succeeds_and_says_so(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    assert gear.ok("delete", "absent", "web").splitlines() == ["absent was not there", "Deleted web"]


def test_purge_of_a_gear_leaves_nothing(gear: Terminal) -> None:
    before = gear.tree()
    gear.ok("install", "geard/sample", "web", "-v", "/data", "A=b", "--start")
    gear.ok("delete", "--purge", "web")
    left = {name for name, what in gear.tree().items() if name not in before and not what.startswith("folder")}
    assert not left
    assert gear("env", "web").code == 5


def test_purge_stops_every_gear_and_deletes_none(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web-1", "web-2", "--start")
    assert "Stopping 2 containers" in gear.ok("purge", "--yes")
    assert {row["ActiveState"] for row in json.loads(gear.ok("list", "-a", "-o", "json"))} == {"inactive"}
    assert not any(row["Started"] for row in json.loads(gear.ok("list", "-a", "-o", "json")))


# --- boot


def test_a_boot_puts_back_what_a_power_cut_took_of_an_install(gear: Terminal) -> None:
    """Its answer waits for the unit on disk, not for systemd's link to it, which follows from the unit."""
    if gear.way == "http":
        return  # a request of this machine alone
    for name in ("web", "still"):
        gear.ok("install", "geard/sample", name)
    web, still = (Folders.of(gear.host.paths, name) for name in ("web", "still"))
    gear.ok("start", "web")
    web.known.unlink()
    still.known.unlink()
    gear.host.systemd.restart_machine()
    assert gear("boot").code == 0
    assert (web.known.readlink(), still.known.readlink()) == (web.unit, still.unit)
    assert gear.host.systemd.told_about("ctr-web.service") == ["start"]
    assert gear.host.systemd.told_about("ctr-still.service") == []


def test_a_boot_starts_what_is_to_run_whatever_becomes_of_one(gear: Terminal) -> None:
    if gear.way == "http":
        return  # a request of this machine alone
    gear.host.systemd.packaged["container-active.target"] = "[Unit]\nDescription=x\n"
    gear.ok("install", "geard/sample", "web-1", "web-2", "web-3", "--start")
    gear.ok("stop", "web-3")
    gear.host.systemd.restart_machine()
    gear.host.systemd.programs["ctr-web-1.service"] = Program(fails=True)
    said = gear("boot")
    assert said.code == 1
    assert status(gear, "web-2")["ActiveState"] == "active"
    assert status(gear, "web-3")["ActiveState"] == "inactive"


# --- look


def test_status_in_every_state_has_the_line_that_people_look_for(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    unit = Folders.of(gear.host.paths, "web").unit
    for words, active in ((None, "inactive (dead)"), ("start", "active (running)"), ("stop", "inactive (dead)")):
        if words:
            gear.ok(words, "web")
        text = gear.ok("status", "web")
        assert f"Loaded: loaded ({unit}; enabled)" in text
        assert f"Active: {active}" in text


def test_status_ends_with_the_log(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    for number in range(20):
        gear.host.journal.add("ctr-web.service", f"line {number}")
    assert [line.rpartition(": ")[2] for line in gear.ok("status", "web", "-n", "2").splitlines()[-2:]] == [
        "line 18",
        "line 19",
    ]
    assert "line 19" not in gear.ok("status", "web", "-n", "0")


def test_nothing_that_acts_on_a_terminal_is_sent_to_one(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--label", "x=\x1b[31mred\x07", "--", "\x1b]0;title\x07")
    gear.host.journal.add("ctr-web.service", "\x1b[2J\x1b[H")
    for words in (
        ("status", "web"),
        ("status", "-o", "wide", "web"),
        ("status", "-t", "web"),
        ("list", "-a"),
        ("cat", "web"),
    ):
        said = gear(*words, terminal=True)
        assert "\x1b" not in said.out + said.err, words
    (found,) = json.loads(gear.ok("status", "web", "-o", "json"))
    assert {"Label": "Label", "Text": "x=\x1b[31mred\x07"} in found["Facts"]


def test_status_of_several_is_a_table(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web-1", "web-2")
    lines = gear.ok("status", "web-1", "web-2").splitlines()
    assert lines[0].split()[:3] == ["NAME", "STATE", "SUB"]
    assert [line.split()[0] for line in lines[1:]] == ["web-1", "web-2"]


@pytest.mark.parametrize(
    "verb", [("status", "web"), ("list", "-a"), ("ports", "web"), ("cat", "web"), ("env", "web")]
)
def test_every_answer_comes_as_json_and_yaml_alike(gear: Terminal, verb: tuple[str, ...]) -> None:
    import yaml

    gear.ok("install", "geard/sample", "web", "A=b")
    found = json.loads(gear.ok(*verb, "-o", "json"))
    assert found
    assert isinstance(found, list)
    assert yaml.safe_load(gear.ok(*verb, "-o", "yaml")) == found


def test_the_list_shows_what_is_loaded_and_all_that_is_installed(gear: Terminal) -> None:
    assert gear.ok("list").splitlines()[0].split()[:6] == ["ID", "SERVER", "ACTIVE", "SUB", "LOAD", "TYPE"]
    gear.ok("install", "geard/sample", "idle")
    gear.ok("install", "geard/sample", "busy", "--start")
    assert gear.ok("list-units", "-q") == "busy\n"
    assert gear.ok("list", "-a", "-q") == "busy\nidle\n"
    assert gear.ok("ps", "-a", "-o", "name") == "busy\nidle\n"
    rows = {row["Id"]: row for row in json.loads(gear.ok("list", "-a", "-o", "json"))}
    assert rows["idle"] | {"ActiveState": "inactive", "Started": False, "Image": "geard/sample"} == rows["idle"]
    assert rows["busy"] | {"ActiveState": "active", "Started": True} == rows["busy"]


def test_a_list_of_none_is_no_line_too_many(gear: Terminal) -> None:
    assert gear.ok("list", "-a", "-q") == ""
    assert json.loads(gear.ok("list", "-a", "-o", "json")) == []


def test_cat_shows_an_admins_own_settings_and_no_value_of_the_environment(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "SECRET=swordfish")
    drop_ins = Folders.of(gear.host.paths, "web").drop_ins
    drop_ins.mkdir()
    (drop_ins / "10-mine.conf").write_text("[Service]\nNice=5\n")
    text = gear.ok("cat", "web")
    assert "Nice=5" in text
    assert str(drop_ins / "10-mine.conf") in text
    assert "swordfish" not in text
    assert "swordfish" not in gear.ok("status", "web")
    gear.ok("install", "geard/sample", "web", "--memory", "256m")
    assert (drop_ins / "10-mine.conf").exists()


# --- request ids


def test_the_same_request_id_again_is_the_same_work(gear: Terminal) -> None:
    id = "0123456789abcdef0123456789abcdef"
    words = ("--request-id", id, "install", "geard/sample", "web", "--memory", "256m")
    gear.ok(*words)
    version = status(gear, "web")["InstalledVersion"]
    gear.ok(*words)
    assert status(gear, "web")["InstalledVersion"] == version
    said = gear("--request-id", id, "install", "geard/sample", "web", "--memory", "512m", "--pids", "3")
    assert said.code == 1
    assert "request id" in said.err
    assert status(gear, "web")["InstalledVersion"] == version


# --- for programs


def test_what_came_of_a_change_as_json(gear: Terminal) -> None:
    (row,) = json.loads(gear.ok("install", "geard/sample", "web", "--start", "-o", "json"))
    assert (row["Id"], row["Phase"], row["Message"]) == ("web", "started", "web is running")
    assert row["Ports"][0]["External"] == 4000, "also where only the image could tell"
    for verb, phase in (("restart", "started"), ("stop", "stopped"), ("start", "started")):
        (row,) = json.loads(gear.ok(verb, "web", "-o", "json"))
        assert row["Phase"] == phase
    rows = json.loads(gear.ok("delete", "web", "other", "-o", "json"))
    assert [row["Message"] for row in rows] == ["Deleted web", "other was not there"]
    assert gear.ok("delete", "web", "-o", "name") == "web\n"


def test_a_failed_change_is_no_row_of_the_json(gear: Terminal) -> None:
    said = gear("start", "nosuch", "-o", "json")
    assert (said.code, json.loads(said.out)) == (5, [])
    assert "there is no gear nosuch" in said.err


def test_ports_that_only_the_image_could_tell_are_told(gear: Terminal) -> None:
    assert "PortMapping: 8080 -> 4000" in gear("install", "geard/sample", "web").lines


@pytest.mark.parametrize("verb", ["ports", "history"])
def test_no_table_where_nobody_answered(gear: Terminal, verb: str) -> None:
    assert gear(verb, "nosuch").out == ""


def test_help_of_a_verb_below_a_verb(gear: Terminal) -> None:
    assert gear.ok("help", "config", "show") == gear.ok("config", "show", "--help")
    assert "there is no 'gear config nosuch'" in gear("help", "config", "nosuch").err


def test_a_stop_cannot_wait_less_than_no_time(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    assert gear("stop", "web", "--timeout", "-1").code == 64


# --- what a status says


def test_lines_of_an_earlier_gear_of_that_name_are_not_this_ones(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    gear.host.journal.add("ctr-web.service", "of the first")
    gear.ok("delete", "web")
    gear.ok("install", "geard/sample", "web")
    gear.host.journal.add("ctr-web.service", "of the second")
    gear.ok("install", "geard/sample", "web", "--memory", "64m")
    assert [line.rsplit(": ", 1)[-1] for line in status(gear, "web")["Log"]] == ["of the second"]
    assert "of the first" not in gear.ok("log", "web", "-n", "all")
    assert "of the first" in gear.ok("log", "web", "--since", "1h"), "who asks for the time is shown it"


def test_why_an_image_is_not_here_yet(gear: Terminal) -> None:
    gear("install", "geard/nosuch", "web", "--start")
    (first, *_) = status(gear, "web")["Advice"]
    assert "there is no image docker.io/geard/nosuch:latest" in first


def test_files_of_the_host_that_the_gear_may_not_use_are_told_at_install_and_by_status(
    gear: Terminal, tmp_path: Path
) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    said = gear("install", "geard/sample", "web", "-v", f"{folder}:/data")
    assert said.code == 0
    assert f"the gear may not read {folder}" in said.out
    assert any("setfacl" in text for text in status(gear, "web")["Advice"])
    folder.rmdir()
    assert any(f"{folder} is not on this host" in text for text in status(gear, "web")["Advice"])


def test_a_start_of_what_runs_an_older_version_says_so(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    assert gear.ok("start", "web") == "web is running\n"
    gear.ok("install", "geard/sample", "web", "--memory", "64m")
    assert "gear restart web brings that in" in gear.ok("start", "web")


def test_history_says_what_changed_in_the_words_of_install(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-v", "/data")
    gear.ok("update", "web", "--memory", "64m", "-v", "/etc:/conf:ro", "--label", "a=b", "--", "run", "a b")
    row = json.loads(gear.ok("history", "web", "-o", "json"))[0]["Versions"][0]
    assert set(row["Changes"]) == {
        "memory 512M -> 64M",
        "command none -> run 'a b'",
        "volume /data kept -> none",
        "volume /conf none -> /etc read only",
        "label a none -> b",
    }


def test_who_waits_for_a_slow_pull_is_told_that_it_goes_on(
    gear: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "SAY_SECONDS", 0.02)
    gear.host.engine.registry["docker.io/geard/slow:latest"] = make_image("geard/slow")
    unit = f"geard-pull@{pull_key('podman docker.io/geard/slow:latest')}.service"
    gear.host.systemd.programs[unit] = Program(ready_after=0.2, status=0)
    said = gear("pull", "geard/slow", terminal=True)
    assert "still pulling docker.io/geard/slow:latest after" in said.err
    gear.host.systemd.programs[unit] = Program(ready_after=0.2, status=0)
    assert "still pulling docker.io/geard/slow:latest after" in gear("pull", "geard/slow").err, "in a log too"
    for words in (["-q"], ["-o", "json"], ["-o", "name"]):
        gear.host.systemd.programs[unit] = Program(ready_after=0.2, status=0)
        said = gear("pull", *words, "geard/slow", terminal=True)
        assert said.out and said.err == ""


def test_an_empty_list_says_where_the_rest_is(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    assert "gear list -a" in gear("list", terminal=True).err
    assert gear("list").err == ""
