"""`gear link`, `gear links`, and `-n` of `gear install`, without an agent and through one."""

from __future__ import annotations

import json

import pytest
from tests.fakes.terminal import Terminal

from geard.links.services import Watch


def on_disk(gear: Terminal, name: str) -> str:
    path = gear.host.paths.base / "ports" / "links" / name[:2] / name
    return path.read_text() if path.exists() else ""


def test_the_readmes_command(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "my-sample-service")
    told = gear.ok("link", "-n=127.0.0.2:8081:9.8.23.14:8080", "my-sample-service")
    assert told.splitlines() == [
        "Links of my-sample-service: 127.0.0.2:8081 -> 9.8.23.14:8080",
        "the links of my-sample-service are changed; it does not run now",
    ]
    assert on_disk(gear, "my-sample-service") == "8081\t8080\t9.8.23.14\t127.0.0.2\n"
    again = gear.ok("link", "-n=127.0.0.2:8081:9.8.23.14:8080", "my-sample-service")
    assert "are as they were" in again


def test_by_the_longer_word_too(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--net-links", "81:192.0.2.1:80")
    assert on_disk(gear, "web") == "81\t80\t192.0.2.1\n"
    gear.ok("link", "--net-links", "82:192.0.2.1:80", "web")
    assert on_disk(gear, "web") == "82\t80\t192.0.2.1\n"


def test_several_gears_all_at_once_or_one_by_one(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web-1", "web-2", "-n", "81:192.0.2.1:80")
    gear.ok("link", "--add", "-n", "82:192.0.2.1:80,53:192.0.2.1:53/udp", "web-1", "web-2")
    for name in ("web-1", "web-2"):
        assert len(on_disk(gear, name).splitlines()) == 3
    gear.ok("link", "--remove", "81,53/udp", "--remove", "127.0.0.9:9", "web-1")
    assert on_disk(gear, "web-1") == "82\t80\t192.0.2.1\n"
    gear.ok("link", "-n", "none", "web-1", "web-2")
    assert on_disk(gear, "web-1") == on_disk(gear, "web-2") == ""
    assert not (gear.host.paths.base / "ports/links/we/web-1").exists()


def test_one_gear_that_is_not_there_is_told_and_the_others_are_linked(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web")
    said = gear("link", "-n", "81:192.0.2.1:80", "web", "nobody")
    assert said.code == 5
    assert "nobody" in said.err
    assert on_disk(gear, "web")
    assert not on_disk(gear, "nobody")


def test_links_are_shown_and_nothing_is_changed(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-n", "db=5432:nobody.invalid:4001,82::", "--wait-links", "1m")
    before = on_disk(gear, "web")
    for words in (["links", "web"], ["link", "web"]):
        lines = [line.split() for line in gear.ok(*words).splitlines()]
        assert lines[0][:2] == ["NAME", "INSIDE"]
        assert lines[1] == ["web", "127.0.0.1:5432", "nobody.invalid:4001", "-", "unresolved", "not", "running"]
        assert lines[2] == ["web", "127.0.0.1:82", "nowhere", "yet", "-", "incomplete", "not", "running"]
    (found,) = json.loads(gear.ok("links", "web", "-o", "json"))
    assert found["Links"][0] | {"FromPort": 0} == {
        "FromPort": 0, "FromHost": "127.0.0.1", "Protocol": "tcp", "ToHost": "nobody.invalid", "ToPort": 4001,
        "Alias": "db", "Wait": 60, "Address": "", "State": "unresolved", "InForce": False,
    }  # fmt: skip
    assert "nobody.invalid:4001 (a start waits 60 s for it)" in gear.ok("status", "web")
    assert str(gear.host.paths.base / "ports/links/we/web") in gear.ok("cat", "web")
    assert on_disk(gear, "web") == before


def test_links_are_the_gears_and_no_versions(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-n", "81:192.0.2.1:80")
    gear.ok("install", "geard/sample", "web", "--memory", "1g")
    assert on_disk(gear, "web"), "an install that says nothing of links leaves them"
    gear.ok("link", "-n", "81:192.0.2.2:80", "web")
    gear.ok("rollback", "web")
    assert "192.0.2.2" in on_disk(gear, "web")
    gear.ok("update", "web", "-n", "none", "--memory", "2g")
    assert not on_disk(gear, "web")


def test_links_go_with_the_gear(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-n", "81:192.0.2.1:80", "--start")
    gear.ok("delete", "web")
    gear.ok("install", "geard/sample", "web")
    assert on_disk(gear, "web") == ""


@pytest.mark.parametrize(
    "words",
    [
        ["link", "-n", "81:192.0.2.1", "web"],
        ["link", "-n", "81:../../x:80", "web"],
        ["link", "--add", "web"],
        ["link", "--remove", "x", "web"],
        ["link", "--wait-links", "9s", "web"],
        ["link", "-n", "81:h:80", "--remove", "81", "web"],
        ["link", "-n", "81:h:80", "--wait-links", "2d", "web"],
        ["install", "geard/sample", "other", "--wait-links", "9s"],
        ["install", "geard/sample", "other", "-n", "0:h:80"],
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(gear: Terminal, words: list[str]) -> None:
    gear.ok("install", "geard/sample", "web", "-n", "80:192.0.2.1:80")
    before = gear.tree()
    assert gear(*words).code == 64
    assert gear.tree() == before


def test_a_start_that_would_wait_for_itself_is_refused(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100")
    gear.ok("install", "geard/sample", "db", "-p", "8080:4200")
    gear.ok("link", "-n", "81:localhost:4200", "--wait-links", "9s", "web")
    for words, told in (
        (["link", "-n", "81:localhost:4100", "--wait-links", "9s", "web"], "would wait for itself"),
        (["link", "-n", "81:127.0.0.1:4100", "--wait-links", "9s", "db"], "in a circle: db -> web -> db"),
        (["install", "geard/sample", "db", "-n", "81:localhost:4100", "--wait-links", "9s"], "in a circle"),
    ):
        said = gear(*words)
        assert said.code == 64
        assert told in said.err
    gear.ok("link", "-n", "81:localhost:4100", "db")


def test_a_start_lays_out_variables_that_override_nothing(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-n", "db=5432:192.0.2.1:80", "DB_PORT=mine", "--start")
    state = gear.host.paths.run / "gears" / "ctr-web"
    told = (state / "links-env").read_text().splitlines()
    assert "DB_PORT_5432_TCP=tcp://127.0.0.1:5432" in told
    assert not [line for line in told if line.startswith("DB_PORT=")]
    assert "--annotation=geard.links=ctr-web" in (state / "environment").read_text()
    assert (state / "links").read_text() == "gear 10.183.0.10 10.183.0.1\ntcp 127.0.0.1 5432 192.0.2.1 80\n"
    gear.ok("link", "-n", "none", "web")
    gear.ok("restart", "web")
    assert "annotation" not in (state / "environment").read_text()
    assert not (state / "links").exists()


def test_a_file_that_somebody_wrote_into_is_followed(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-n", "81:192.0.2.1:80", "--start")
    path = gear.host.paths.base / "ports" / "links" / "we" / "web"
    path.write_text(path.read_text().replace("192.0.2.1", "192.0.2.2") + "nonsense\n")
    Watch(gear.host).turn()  # it does not run here: nothing may break
    assert "192.0.2.2" in gear.ok("links", "web")


def test_a_killed_writer_leaves_old_links_or_new_ones(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-n", "81:192.0.2.1:80")
    folder = gear.host.paths.base / "ports" / "links" / "we"
    (folder / ".web.tmp").write_text("81\t80\t192")
    gear.ok("link", "-n", "81:192.0.2.2:80", "web")
    assert [path.name for path in folder.iterdir()] == ["web"]
