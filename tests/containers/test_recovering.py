"""Gears whose disk is in another machine: what is found and changed, and that a second time changes nothing."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest
from tests.fakes.host import tree
from tests.fakes.terminal import Terminal

from geard import catalog
from geard.containers import recovering, slots, versions
from geard.containers.folders import Folders
from geard.containers.recovering import Bridges, Found

HERE = {
    "podman": slots.Bridge(ipaddress.IPv4Network("10.185.0.0/16"), None),
    "docker": slots.Bridge(ipaddress.IPv4Network("10.186.0.0/16"), None),
}


@pytest.fixture
def web(gear: Terminal) -> Folders:
    """A gear of two versions that is to run, on a disk without its machine."""
    gear.ok("install", "geard/sample", "web", "--start", "-p", "8080:4000")
    gear.ok("install", "geard/sample", "web", "-p", "8080:4000", "--memory", "100m")
    folders = Folders.of(gear.host.paths, "web")
    folders.known.unlink()
    return folders


def look(gear: Terminal, bridges: Bridges = HERE) -> Found:
    return recovering.look(gear.host, bridges, "web", running=False)


def take_over(gear: Terminal) -> None:
    recovering.take_over(gear.host, HERE, "web", catalog.load())


def test_what_is_to_run_is_known_from_the_disk(gear: Terminal, web: Folders) -> None:
    assert look(gear).wanted
    gear.ok("stop", "web")
    assert not look(gear).wanted


def test_it_is_made_known_and_moved_to_this_machines_network(gear: Terminal, web: Folders) -> None:
    before = versions.require(web)
    assert look(gear).changed == ("made known to systemd", f"address 10.185.0.10 in place of {before.ipv4}")
    take_over(gear)
    assert web.known.readlink() == web.unit
    now = versions.require(web)
    assert (now.ipv4, now.ipv6, now.version) == ("10.185.0.10", "", before.version)
    assert {version.ipv4 for version in versions.recorded(web)} == {"10.185.0.10"}
    assert "--ip 10.185.0.10" in web.run.read_text() and "--ip6" not in web.run.read_text()
    assert web.unit.samefile(web.versions / now.version)


def test_a_second_time_changes_nothing(gear: Terminal, web: Folders) -> None:
    take_over(gear)
    before = tree(gear.host.folder)
    assert look(gear).changed == ()
    take_over(gear)
    assert tree(gear.host.folder) == before


def test_a_port_is_reserved_again_unless_another_has_it(gear: Terminal, web: Folders) -> None:
    place = gear.host.paths.base / "ports/interfaces/1/40/4000"
    place.unlink()
    assert "port 4000/tcp reserved again" in look(gear).changed
    take_over(gear)
    assert place.readlink() == web.unit
    place.unlink()
    place.touch()
    take_over(gear)
    assert any("port 4000/tcp belongs to" in trouble for trouble in look(gear).troubles)


def test_what_this_machine_lacks_is_told(gear: Terminal, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
    lost = tmp_path / "lost"
    lost.mkdir()
    gear.ok("install", "geard/sample", "web", "-p", f"8080:{port}", "-v", f"{lost}:/srv")
    lost.rmdir()
    with socket.create_server(("", port)):
        told = " ".join(look(gear).troubles)
    assert f"port {port}/tcp is in use by another program" in told
    assert f"{lost}, which it mounts, is not on this machine" in told


def test_a_definition_that_cannot_be_read_is_told(gear: Terminal, web: Folders) -> None:
    web.run.write_text("# geard: {not json\n")
    assert any("cannot be read" in trouble for trouble in look(gear).troubles)


def test_links_to_gears_that_are_gone_are_removed_and_no_others(gear: Terminal, web: Folders) -> None:
    systemd = gear.host.paths.systemd
    (systemd / "ctr-gone.service").symlink_to(gear.host.paths.base / "units/go/ctr-gone.service")
    (systemd / "ctr-mine.service").symlink_to("/srv/mine.service")
    take_over(gear)
    assert recovering.forget_the_gone(gear.host) == ["ctr-gone.service"]
    assert {path.name for path in systemd.glob("ctr-*.service")} == {"ctr-mine.service", "ctr-web.service"}
