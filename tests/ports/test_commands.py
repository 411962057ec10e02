"""`gear ports`, and `-p` of `gear install`."""

from __future__ import annotations

import json
import os
import socket

import pytest
from tests.fakes.engine import make_image
from tests.fakes.terminal import Terminal

from geard.containers.folders import Folders
from geard.ports.reservations import held_by


def ports(gear: Terminal, name: str) -> dict[int, int]:
    (found,) = json.loads(gear.ok("ports", name, "-o", "json"))
    return {row["Internal"]: row["External"] for row in found["Ports"]}


def held(gear: Terminal, name: str) -> set[int]:
    return {port for port, _ in held_by(gear.host.paths, Folders.of(gear.host.paths, name).unit)}


def test_a_table_and_several_gears(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100,53:4101/udp")
    gear.ok("install", "geard/sample", "db", "-p", "none")
    lines = [line.split() for line in gear.ok("ports", "web", "db").splitlines()]
    assert lines == [
        ["NAME", "INTERNAL", "EXTERNAL", "PROTOCOL", "ADDRESS"],
        ["web", "8080", "4100", "tcp", "all"],
        ["web", "53", "4101", "udp", "all"],
    ]


def test_a_port_that_was_given_stays_over_installs_stops_and_starts(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "other", "-p", "8080:4000")
    gear.ok("install", "geard/sample", "web", "-p", "8080:0", "--start")
    before = ports(gear, "web")
    gear.ok("stop", "web")
    gear.ok("install", "geard/sample", "web", "-p", "8080:0", "--memory", "1g")
    gear.ok("start", "web")
    assert ports(gear, "web") == before


def test_a_port_that_is_not_used_any_more_is_given_back_once_nothing_runs_with_it(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    gear.ok("install", "geard/sample", "web", "-p", "8080:4200")
    assert held(gear, "web") == {4100, 4200}
    gear.ok("restart", "web")
    assert held(gear, "web") == {4200}


def test_what_an_image_exposes_is_known_once_it_is_here(gear: Terminal) -> None:
    image = make_image("docker.io/geard/two", ports=((80, "tcp"), (53, "udp")))
    gear.host.engine.registry["docker.io/geard/two:latest"] = image
    gear.ok("install", "geard/two", "web")
    assert set(ports(gear, "web")) == {80, 53}
    gear.ok("install", "geard/two", "web", "-p", "none")
    assert ports(gear, "web") == {}


def test_all_are_given_back_with_the_gear(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100,9090:0", "--start")
    gear.ok("install", "geard/sample", "web", "-p", "8080:4200")
    gear.ok("delete", "web")
    assert held(gear, "web") == set()


def test_a_conflict_releases_nothing_of_either(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "first", "-p", "8080:4100")
    gear.ok("install", "geard/sample", "second", "-p", "8080:4200")
    for _ in range(2):
        assert gear("install", "geard/sample", "second", "-p", "8080:4300,9090:4100").code == 1
    assert (held(gear, "first"), held(gear, "second")) == ({4100}, {4200})


def test_the_published_ports_reach_the_engine(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100,53:4101/udp")
    text = gear.ok("cat", "web")
    assert "--publish 4100:8080/tcp --publish 4101:53/udp" in text
    assert "X-PortMapping=8080:4100\nX-PortMapping=53:4101/udp\n" in text


def test_ports_are_added_moved_and_removed_one_by_one(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100,53:4101/udp")
    said = gear.ok("port", "web", "8080:4200", "443:127.0.0.1:4300")
    assert said.splitlines() == [
        "PortMapping: 8080 -> 4200, 53/udp -> 4101, 443 -> 127.0.0.1:4300",
        "web is changed; it does not run now",
    ]
    assert held(gear, "web") == {4101, 4200, 4300}
    gear.ok("port", "web", "--remove", "53/udp,443")
    assert ports(gear, "web") == {8080: 4200}
    gear.ok("port", "web", "--replace", "80:4400")
    assert ports(gear, "web") == {80: 4400}
    gear.ok("port", "web", "none")
    assert ports(gear, "web") == {}
    assert held(gear, "web") == set()
    assert gear.ok("port", "web") == gear.ok("ports", "web")


def test_a_change_of_ports_asked_twice_changes_nothing_more(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100")
    gear.ok("port", "web", "8080:4200", "--remove", "53")
    there = gear.tree()
    assert "web is as it was" in gear.ok("port", "web", "8080:4200", "--remove", "53")
    assert gear.tree() == there


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["web", "8080:4500"], 1, "port 4500/tcp belongs to gear other"),
        (["web", "443:4100"], 64, "port 4100/tcp of the host is asked for twice"),
        (["web", "8080:4100", "--remove", "8080"], 64, "port 8080/tcp is to be mapped and to be removed"),
        (["web", "8080"], 64, "'8080' is no pair of ports"),
        (["web", "8080:[::1]:0"], 64, "nothing can be published on ::1"),
        (["web", "8080:43273"], 64, "port 43273 is the agent's own"),
        (["web", "--remove", "x"], 64, "'x' is no port inside a gear"),
        (["nobody", "80:0"], 5, "there is no gear nobody here"),
    ],
)
def test_a_change_that_cannot_be_changes_nothing(gear: Terminal, words: list[str], code: int, text: str) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100")
    gear.ok("install", "geard/sample", "other", "-p", "8080:4500")
    there = gear.tree()
    said = gear("port", *words)
    assert (said.code, text in said.err) == (code, True), said
    assert gear.tree() == there


def test_a_gear_that_runs_is_led_to_anew_without_a_restart(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    state = Folders.of(gear.host.paths, "web").state
    (state / "cid").write_text("f" * 64)  # which the engine writes
    assert "web is changed, without a restart" in gear.ok("port", "web", "8080:4200")
    assert "tcp . 4200 : 10.183.0.10 . 8080" in gear.host.rules.loaded
    assert "withdrawn { type inet_proto . inet_service; elements = { tcp . 4100 }" in gear.host.rules.loaded
    assert gear.host.systemd.told_about("ctr-web.service") == ["start"]
    assert "running version" not in gear.ok("status", "web")
    assert held(gear, "web") == {4100, 4200}, "the engine has 4100 until the gear ends"
    gear.ok("port", "web", "8080:4100")
    assert "4100" not in gear.host.rules.loaded


def test_where_the_engine_has_not_said_what_runs_it_comes_with_the_next_start(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "-p", "8080:4100", "--start")
    assert "that comes with its next start: gear restart web" in gear.ok("port", "web", "8080:4200")
    assert gear.host.rules.loaded == ""


def test_a_moved_port_of_the_image_goes_on_following_the_image(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    gear.ok("port", "web", "8080:4100")
    gear.host.engine.registry["docker.io/geard/sample:latest"] = make_image(
        "docker.io/geard/sample", ports=((8080, "tcp"), (53, "udp")), content="newer"
    )
    gear.ok("update", "web")
    found = ports(gear, "web")
    assert found[8080] == 4100
    assert set(found) == {8080, 53}


def test_settings_say_where_ports_are_published_and_which(gear: Terminal) -> None:
    (gear.host.paths.settings / "geard.toml").write_text(
        '[ports]\npublish = "127.0.0.1"\nrange = "4777-4778"\n', encoding="utf-8"
    )
    gear.ok("install", "geard/sample", "web", "-p", "8080:0,9090:*:0,53:10.0.0.1:0/udp")
    text = gear.ok("cat", "web")
    assert "--publish 127.0.0.1:4777:8080/tcp --publish 4778:9090/tcp --publish 10.0.0.1:4777:53/udp" in text
    said = gear("port", "web", "1:0")
    assert "no free tcp port from 4777 to 4778 is left on this host" in said.err


@pytest.mark.parametrize("text", ['range = "9-5"', 'range = "0-5"', 'range = "a"', 'publish = "home"', "x = 1"])
def test_settings_that_cannot_be_are_refused_by_name(gear: Terminal, text: str) -> None:
    (gear.host.paths.settings / "geard.toml").write_text(f"[ports]\n{text}\n", encoding="utf-8")
    said = gear("install", "geard/sample", "web", "-p", "8080:0")
    assert said.code == 64
    assert text.split(" ")[0] in said.err


def test_a_port_that_somebody_listens_on_is_refused_with_who_does(gear: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = gear("install", "geard/sample", "web", "-p", f"8080:127.0.0.1:{port}")
        assert f"port {port}/tcp of 127.0.0.1 is taken on this host: " in said.err
        assert f"(process {os.getpid()}) listens on it" in said.err
