"""`gear requests` and `gear wait`: on the machine itself and through its agent."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.terminal import Terminal, terminal

from geard.identifiers import new_request_id


def test_requests_lists_what_was_asked_and_what_came_of_it(gear: Terminal) -> None:
    good, bad = new_request_id(), new_request_id()
    gear.ok("--request-id", good, "install", "geard/sample", "web")
    assert gear("--request-id", bad, "start", "nothing").code == 5
    header, *rows = gear.ok("requests").splitlines()
    assert header.split() == ["ID", "STATE", "SINCE", "WHO", "WHAT"]
    assert [row.split()[:2] for row in rows] == [[good, "done"], [bad, "failed"]]
    assert rows[0].endswith("PUT /container/web") and rows[1].endswith("PUT /container/nothing/started")
    found = json.loads(gear.ok("requests", "-o", "json"))
    assert [each["State"] for each in found] == ["done", "failed"]
    assert found[1]["Failure"] == "there is no gear nothing here"
    assert found[0]["Since"] <= found[0]["Ended"] <= found[1]["Ended"]
    assert gear.ok("requests", "-o", "name").split() == [good, bad]
    assert "there is no gear nothing here" in gear.ok("requests", "-o", "wide")


def test_questions_are_no_requests(gear: Terminal) -> None:
    gear.ok("list")
    gear.ok("requests")
    assert gear.ok("requests", "-o", "name") == ""


def test_wait_tells_what_the_request_told(gear: Terminal) -> None:
    id = new_request_id()
    told = gear.ok("--request-id", id, "install", "geard/sample", "web", "--start")
    assert gear.ok("wait", id) == told
    assert "starting web" in gear("wait", id, terminal=True).err
    assert f"{id} done: PUT /container/web" in gear.ok("wait", "--status", id)


def test_wait_ends_as_the_request_ended(gear: Terminal) -> None:
    id = new_request_id()
    first = gear("--request-id", id, "start", "nothing")
    again = gear("wait", id)
    assert (again.code, again.err) == (first.code, first.err) and first.code == 5


def test_an_id_that_is_not_known_and_one_that_cannot_be(gear: Terminal) -> None:
    said = gear("wait", new_request_id())
    assert said.code == 5 and "gear requests --all" in said.err
    assert gear("wait", "../../etc/passwd").code == 64


def test_the_command_and_the_agent_join_each_other(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    id = new_request_id()
    words = ("--request-id", id, "install", "geard/sample", "web", "-p", "8080:4001")
    with terminal(tmp_path, "local") as gear:
        told, host = gear.ok(*words), gear.host
    with terminal(tmp_path, "http", host) as gear:
        assert gear.ok(*words) == told
        assert gear.ok("wait", id) == told
        assert gear(*words[:-1], "8080:4002").code == 1


def test_names_that_would_act_on_a_terminal_are_shown(gear: Terminal) -> None:
    gear("delete-env", "a\x1b[31m")
    assert "\x1b" not in gear("requests").out


def test_ids_are_completed(gear: Terminal) -> None:
    from geard.joining.commands import _ids  # pyright: ignore[reportPrivateUsage]

    id = new_request_id()
    gear.ok("--request-id", id, "install", "geard/sample", "web")
    assert list(_ids("")) == [id]
