"""`gear events`, without an agent and through one, on a host of fakes, and what is written for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fakes.terminal import Terminal

from geard.events import entries
from geard.events.commands import asked_places
from geard.failures import Invalid
from geard.identifiers import LOCAL, Place


def told(gear: Terminal, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gear.ok("events", "-o", "json", *words).splitlines()]


def kinds(gear: Terminal, *words: str) -> list[str]:
    return [event["Kind"] for event in told(gear, *words)]


def systemd_says(gear: Terminal, id: str, unit: str, **fields: str) -> None:
    gear.host.journal.tell({"MESSAGE_ID": id, "UNIT": unit, **fields})


def test_what_was_done_to_a_gear_is_told_with_request_and_asker(gear: Terminal) -> None:
    id = "0123456789abcdefABCD_w"
    gear.ok("--request-id", id, "install", "geard/sample", "web", "-p", "8080:4100")
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100")  # unchanged: nothing has happened
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--memory", "64m")
    gear.ok("port", "web", "8080:4200")
    gear.ok("rollback", "web")
    gear.ok("delete", "web")
    gear.ok("delete", "web")  # not there: nothing has happened
    events = told(gear)
    assert [event["Kind"] for event in events if event["Id"] == "web"] == [
        "installed", "updated", "ports", "updated", "deleted",
    ]  # fmt: skip
    assert events[0]["Request"] == events[0]["Version"] == id
    assert events[0]["Image"] == "geard/sample"
    assert all(event["By"] for event in events if event["Id"])
    assert "8080 -> 4200" in events[2]["Message"]


def test_a_start_names_the_request_that_systemd_was_asked_by(gear: Terminal) -> None:
    id = "0123456789abcdefABCD_w"
    gear.ok("install", "geard/sample", "web", "-p", "none")
    gear.ok("--request-id", id, "start", "web")
    systemd_says(gear, entries.STARTING, "ctr-web.service")
    systemd_says(gear, entries.STARTED, "ctr-web.service", JOB_RESULT="done")
    started = told(gear, "--kind", "starting,started")
    assert [(event["Kind"], event["Request"]) for event in started] == [("starting", id), ("started", id)]


def test_only_the_gears_and_kinds_that_were_asked_for(gear: Terminal) -> None:
    for name in ("web", "db", "other"):
        gear.ok("install", "geard/sample", name, "-p", "none")
    gear.ok("delete", "db")
    assert {event["Id"] for event in told(gear, "web", "db")} == {"web", "db"}
    assert kinds(gear, "web", "db", "--kind", "deleted") == ["deleted"]
    assert kinds(gear, "never-was") == []


def test_people_see_one_line_an_event(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "none")
    systemd_says(gear, entries.FAILED, "ctr-web.service", UNIT_RESULT="timeout")
    lines = gear.ok("events").splitlines()
    assert "  installed    web  geard/sample, version " in lines[0]
    assert lines[-1].endswith("  failed       web  it did not come up, or down, in time")


def test_it_goes_on_behind_a_cursor(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "none")
    gear.ok("delete", "web")
    first, *others = told(gear)
    assert told(gear, "--after-cursor", first["Cursor"]) == others
    assert told(gear, "--after-cursor", others[-1]["Cursor"]) == []


def test_what_makes_no_sense_is_refused(gear: Terminal) -> None:
    for words in (
        ("../x",),
        ("--since", "soonish"),
        ("--after-cursor", "x"),
        ("a b",),
        ("--kind", "x", "h1:x/web"),
    ):
        assert gear("events", *words).code == 64, words
    assert gear("events", "--after-cursor", "s=1;i=2", "local/", "localhost/").code == 64


def test_hosts_and_gears() -> None:
    h1 = Place("h1")
    assert asked_places([]) == {LOCAL: []}
    assert asked_places(["web", "db"]) == {LOCAL: ["web", "db"]}
    assert asked_places(["h1/web", "h1/", "db"]) == {h1: [], LOCAL: ["db"]}
    assert asked_places(["h1/"]) == {h1: []}
    with pytest.raises(Invalid):
        asked_places(["h1//"])
