"""`gear ports`, and `-p` of `gear install`."""

from __future__ import annotations

import json

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
        ["NAME", "INTERNAL", "EXTERNAL", "PROTOCOL"],
        ["web", "8080", "4100", "tcp"],
        ["web", "53", "4101", "udp"],
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
