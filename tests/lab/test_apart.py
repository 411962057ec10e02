"""Gears reach neither each other nor the host, except through published ports."""

from __future__ import annotations

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"


@BOTH
def test_only_published_ports_are_reached(host: Shell) -> None:
    host.gear("install", APP, "target", "--start", "-p", "8080:0")
    host.gear("install", TOOLS, "prober", "--start")
    facts = {fact["Label"]: fact["Text"] for fact in host.status("target")["Facts"]}
    ipv4, ipv6 = facts["Address"].partition(",")[0].split()
    gateway = ipv4.rpartition(".")[0].rpartition(".")[0] + ".0.1"
    port = host.port("target")

    def reached(url: str) -> bool:
        probe = host.inside("prober", "wget", "-T2", "-qO-", url, check=False)
        return "target" in probe.stdout

    assert reached(f"http://{host.address}:{port}/"), "a published port is a door"
    assert reached(f"http://{gateway}:{port}/")
    assert not reached(f"http://{ipv4}:8080/")
    assert not reached(f"http://[{ipv6}]:8080/")
    for place in (f"{gateway}:43273", f"{host.address}:43273", f"{host.address}:22"):
        probe = host.inside("prober", "wget", "-T2", "-qO-", f"http://{place}/", check=False)
        assert probe.returncode != 0 and "43273" not in probe.stdout
        assert "refused" not in probe.stderr, "the packet itself is rejected, whatever listens"


@BOTH
def test_a_gear_keeps_its_address(host: Shell) -> None:
    host.gear("install", TOOLS, "home", "--start")
    where = [host.engine, "exec", "ctr-home", "ip", "-o", "addr", "show", "eth0"]
    link = [host.engine, "exec", "ctr-home", "cat", "/sys/class/net/eth0/address"]
    address, mac = host.run(where).stdout, host.run(link).stdout
    host.gear("restart", "home")
    assert host.run(link).stdout == mac
    first = [line.split()[3] for line in address.splitlines()]
    assert [line.split()[3] for line in host.run(where).stdout.splitlines()] == first


@BOTH
def test_a_neighbour_that_routes_here_reaches_published_ports_alone(host: Shell) -> None:
    host.gear("install", APP, "target", "--start", "-p", "8080:0")
    facts = host.status("target")["Facts"]
    address = next(fact["Text"] for fact in facts if fact["Label"] == "Address").split()[0].rstrip(",")
    host.lab_does("outside", "ip", "route", "replace", f"{address}/32", "via", host.address)
    try:
        url = f"http://{host.address}:{host.port('target')}/"
        eventually(lambda: "target" in host.from_outside(url))
        assert host.from_outside(f"http://{address}:8080/") == ""
    finally:
        host.lab_does("outside", "ip", "route", "del", f"{address}/32")
