"""Idle gears on a host in which something is broken: whoever connects is answered, or refused and told why."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pytest
from tests.lab.conftest import APP, Shell, eventually
from tests.lab.test_idling import LATE, PORT, idle, page, states

pytestmark = pytest.mark.lab

DOORS = "geard.socket geard-loopback.socket geard-loopback6.socket"
OTHERS = """
table inet others {
    set blocked {
        type ipv4_addr
        elements = { 192.0.2.7 }
    }
    chain input {
        type filter hook input priority filter; policy accept;
        ip saddr @blocked tcp dport 4100 drop
    }
    chain early {
        type filter hook prerouting priority raw; policy accept;
        tcp dport 9 drop
    }
}
"""


def rules_of_others(host: Shell) -> dict[str, str]:
    """All but the waker's, and those that podman makes for each container; without what they have counted."""
    tables = [line.removeprefix("table ") for line in host.sh("nft list tables").stdout.splitlines()]
    own = ("inet geard_idle", "inet netavark")
    return {table: host.sh(f"nft -s list table {table}").stdout for table in tables if table not in own}


@contextmanager
def without_agent(host: Shell) -> Generator[None]:
    host.sh(f"systemctl stop {DOORS} geard.service")
    try:
        yield
    finally:
        host.sh(f"systemctl start {DOORS}")


@contextmanager
def firewalld(host: Shell) -> Generator[None]:
    try:
        host.run(["systemctl", "start", "firewalld"])
        yield
    finally:
        host.sh("systemctl stop firewalld polkit; rm -f /etc/firewalld/zones/public.xml*", check=False)


@contextmanager
def broken_podman(host: Shell) -> Generator[None]:
    host.sh("mv /usr/bin/podman /usr/bin/podman.whole")
    host.run(["tee", "/usr/bin/podman"], stdin="#!/bin/sh\necho 'Error: the store is broken' >&2\nexit 125\n")
    host.sh("chmod +x /usr/bin/podman")
    try:
        yield
    finally:
        host.sh("mv /usr/bin/podman.whole /usr/bin/podman")


def asked(host: Shell, unit: str) -> None:
    """Somebody connects, in the background; `answered` tells."""
    curl = f"curl -s --max-time 90 http://127.0.0.1:{PORT}/ >/tmp/{unit}"
    host.run(["systemd-run", "--quiet", f"--unit={unit}", "sh", "-c", f": >/tmp/{unit}; {curl}"])


def answered(host: Shell, unit: str) -> bool:
    return "Hello from web" in host.sh(f"cat /tmp/{unit}", check=False).stdout


def test_waking_needs_no_agent_and_leaves_others_rules_alone(host: Shell) -> None:
    host.run(["systemctl", "start", "docker.socket", "docker.service"])
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}")
    host.run(["nft", "-f", "-"], stdin=OTHERS)
    host.sh("iptables-nft -w -N others && iptables-nft -w -A others -p tcp --dport 9 -j DROP")
    try:
        before = rules_of_others(host)
        assert {"inet others", "inet geard", "ip filter", "ip nat"} <= set(before)
        assert "DOCKER" in before["ip nat"] and "chain others" in before["ip filter"]
        with without_agent(host):
            for depth in ("stop", "freeze"):
                idle(host, "web", "--depth", depth)
                assert "Hello from web" in page(host, f"127.0.0.1:{PORT}")
                eventually(lambda: states(host) == {"web": "active"}, seconds=60)
            # Killed where it cannot tidy up, both ways.
            host.run(["systemctl", "kill", "-s", "KILL", "geard-waker"])
            eventually(lambda: host.sh("nft list table inet geard_idle", check=False).returncode == 0, seconds=60)
            host.sh("nft delete table inet geard_idle")
            eventually(lambda: host.sh("nft list table inet geard_idle", check=False).returncode == 0, seconds=60)
        assert rules_of_others(host) == before
    finally:
        host.sh("nft delete table inet others; iptables-nft -w -F others; iptables-nft -w -X others", check=False)
        host.run(["systemctl", "stop", "docker.socket", "docker.service"])


def test_waking_and_firewalld_leave_each_other_alone(host: Shell) -> None:
    def table(name: str) -> str:
        """Handles too: one that was made anew has others."""
        return host.sh(f"nft -a -s list table inet {name} 2>/dev/null").stdout

    def woken_from_outside() -> None:
        eventually(lambda: "Hello from web" in host.from_outside(f"http://{host.address}:{PORT}/"), seconds=60)
        eventually(lambda: states(host) == {"web": "active"}, seconds=60)

    host.gear("install", APP, "web", "-p", f"8080:{PORT}")
    idle(host)
    before, ours = rules_of_others(host), table("geard_idle")
    with firewalld(host):
        host.run(["firewall-cmd", "--permanent", f"--add-port={PORT}/tcp"])
        host.run(["firewall-cmd", "--reload"])
        host.run(["systemctl", "restart", "firewalld"])
        assert host.run(["firewall-cmd", "--list-ports"]).stdout == f"{PORT}/tcp\n"
        assert table("geard_idle") == ours
        woken_from_outside()
        # podman has told firewalld of its network by now; one that is frozen wakes without it.
        idle(host, "web", "--depth", "freeze")
        theirs = table("firewalld")
        assert f"tcp dport {PORT}" in theirs
        woken_from_outside()
        assert table("firewalld") == theirs
    assert rules_of_others(host) == before
    idle(host)
    woken_from_outside()


def test_an_engine_that_is_broken_is_told_and_tried_again(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}")
    idle(host)
    with broken_podman(host):
        assert page(host, f"127.0.0.1:{PORT}") == "", "refused, as soon as that is known"
        assert states(host)["web"] in ("activating", "failed"), "not idle any more: systemd tries, and pauses"
        assert page(host, f"127.0.0.1:{PORT}") == ""
        told = host.gear("events", "-o", "json", "web").stdout
        assert "the store is broken" in told
        log = host.run(["journalctl", "-u", "geard-wake", "-n", "5", "-o", "cat"]).stdout
        assert "web cannot be woken: the engine could not start it" in log
    eventually(lambda: "Hello from web" in page(host, f"127.0.0.1:{PORT}"), seconds=120)
    assert states(host) == {"web": "active"}


def test_what_wakes_is_killed_in_the_middle(host: Shell) -> None:
    host.gear("install", APP, "web", "-p", f"8080:{PORT}", *LATE)
    idle(host)
    asked(host, "asker-1")
    eventually(lambda: states(host)["web"] != "idle", seconds=60)
    host.run(["systemctl", "kill", "-s", "KILL", "geard-wake"])  # with all that it has forked
    eventually(lambda: answered(host, "asker-1"), seconds=100)
    assert host.run(["systemctl", "is-active", "geard-waker", "geard-wake"]).stdout == "active\nactive\n"
