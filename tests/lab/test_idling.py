"""Idle gears on a real host: what they leave behind, and that whoever connects first is answered."""

from __future__ import annotations

import json
import time

import pytest
from tests.lab.conftest import APP, BOTH, SETTINGS, Shell, eventually
from tests.lab.test_ports import ECHO, PYTHON, TOOLS

pytestmark = pytest.mark.lab

LATE = ("--", "sh", "-c", "sleep 1; exec /bin/serve-http")
"""a program that takes its time until it listens"""
PORT = 4100
# One connection each, all at once; how many were answered, and what became of the others.
CROWD = """
import collections, socket, sys, threading
ends = collections.Counter()
def ask():
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=150) as line:
            line.settimeout(150)
            line.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            ends["answered" if b"Hello" in line.makefile("rb").read() else "silent"] += 1
    except OSError as error:
        ends[str(error)] += 1
crowd = [threading.Thread(target=ask) for _ in range(int(sys.argv[2]))]
[one.start() for one in crowd]
[one.join() for one in crowd]
print(dict(ends))
"""


def idle(host: Shell, name: str = "web", *options: str) -> None:
    host.gear("idle", name, *options)
    assert states(host)[name] == "idle"
    # The waker reads what it is to hold as soon as it is written, which may be a moment after.
    eventually(lambda: str(host.port(name)) in held(host))


def held(host: Shell) -> str:
    """The elements of the waker's sets."""
    table = host.sh("nft -j list table inet geard_idle 2>/dev/null").stdout
    sets = [each["set"] for each in json.loads(table)["nftables"] if "set" in each]
    return json.dumps([each.get("elem", []) for each in sets])


def states(host: Shell) -> dict[str, str]:
    rows = json.loads(host.gear("list", "-a", "-o", "json").stdout)
    return {row["Id"]: row["ActiveState"] for row in rows}


def page(host: Shell, place: str) -> str:
    """What the first to ask is answered; empty where it is refused."""
    found = host.run(["curl", "-gs", "--max-time", "60", f"http://{place}/"], check=False)
    assert found.returncode in (0, 7), f"{place}: neither answered nor refused, curl says {found.returncode}"
    return found.stdout


def main_pid(host: Shell, unit: str) -> int:
    return int(host.run(["systemctl", "show", "-P", "MainPID", unit]).stdout)


@BOTH
def test_the_first_connection_wakes_a_gear(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}", *LATE)
    idle(host)
    status = host.status("web")
    assert (status["ActiveState"], status["SubState"], status["Started"]) == ("idle", "stopped", False)
    assert host.sh("ls /var/lib/containers/units/we/ctr-web.idle").returncode == 0
    assert host.sh(f"{host.engine} ps -q --filter name=ctr-web").stdout == "", "nothing of it runs"
    assert "Hello from web" in page(host, f"127.0.0.1:{PORT}")
    assert states(host) == {"web": "active"}
    eventually(lambda: str(PORT) not in held(host))
    assert host.status("web")["Started"]
    assert (
        host.sh("ls /var/lib/containers/units/we/ctr-web.idle /run/geard/idle/ctr-web", check=False).stdout == ""
    )
    told = [json.loads(line)["Kind"] for line in host.gear("events", "-o", "json", "web").stdout.splitlines()]
    assert [kind for kind in told if kind in ("idled", "woken")][-2:] == ["idled", "woken"]

    taken = json.loads(host.gear("wake-time", "-o", "json", "web").stdout)[0]
    steps = [step["Name"] for step in taken["Steps"]]
    assert taken["Port"] == PORT and steps[0] == "asked" and steps[-1] == "listens"
    assert sorted(taken["Steps"], key=lambda step: step["Ms"]) == taken["Steps"], "one after the other"

    idle(host)
    assert host.gear("wake-time", "web", check=False).returncode == 5
    eventually(lambda: "Hello from web" in _outside(host), seconds=60)
    assert states(host) == {"web": "active"}


def _outside(host: Shell) -> str:
    return host.from_outside(f"http://{host.address}:{PORT}/")


@BOTH
def test_a_frozen_gear_goes_on_where_it_was(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}")
    pid = host.status("web")["Pid"]
    idle(host, "web", "--depth", "freeze")
    status = host.status("web")
    assert (status["SubState"], status["Pid"]) == ("frozen", pid)
    refused = host.gear("exec", "web", "--", "id", check=False)
    assert refused.returncode == 125
    assert "web is idle" in refused.stderr
    assert "Hello from web" in page(host, f"127.0.0.1:{PORT}")
    assert host.status("web")["Pid"] == pid
    eventually(lambda: str(PORT) not in held(host))
    assert states(host) == {"web": "active"}
    assert "the waker had it go on" in host.gear("wake-time", "web").stdout, "itself, without another process"
    idle(host, "web", "--depth", "freeze")
    host.gear("start", "web")
    assert "Hello from web" in page(host, f"127.0.0.1:{PORT}"), "a start ends it too"
    idle(host, "web", "--depth", "freeze")
    assert "web is stopped (its program ended with status" in host.gear("stop", "web").stdout
    assert states(host) == {"web": "inactive"}


def test_whoever_connects_and_however(host: Shell) -> None:
    ipv6 = host.sh("ip -6 -o addr show dev eth0 scope global | awk '{print $4}' | cut -d/ -f1").stdout.strip()
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}")
    host.gear("install", APP, "here", "--start", "-p", f"8080:{host.address}:4101")
    host.gear("install", APP, "asker", "--start", "-p", "none", "-n", f"9000:localhost:{PORT}")
    for gear, place in (("web", f"[{ipv6}]:{PORT}"), ("here", f"{host.address}:4101")):
        idle(host, gear)
        assert f"Hello from {gear}" in page(host, place)
    idle(host)
    asked = host.inside("asker", "wget", "-qO-", "http://127.0.0.1:9000/")
    assert "Hello from web" in asked.stdout, "a link from another gear"
    idle(host, "here")
    assert page(host, "127.0.0.1:4101") == "", "it is published on another address"
    assert states(host)["here"] == "idle"


def test_whose_connections_wake_it(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}", "--wake-from", "192.0.2.0/24")
    idle(host)
    assert page(host, f"127.0.0.1:{PORT}") == "", "refused at once"
    host.gear("start", "web")
    idle(host, "web", "--depth", "freeze")
    unanswered = host.run(["curl", "-s", "--max-time", "2", f"http://127.0.0.1:{PORT}/"], check=False)
    assert (unanswered.returncode, states(host)) == (28, {"web": "idle"})
    host.gear("update", "web", "--wake-from", f"{host.address}/32", "--wake-from", "127.0.0.0/8")
    eventually(lambda: states(host) == {"web": "idle"}, seconds=60)
    assert "Hello from web" in page(host, f"127.0.0.1:{PORT}")


# One datagram, and what comes back for it.
DATAGRAM = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(90)
    client.connect((sys.argv[1], int(sys.argv[2])))
    client.send(b"ping")
    print(client.recv(100).decode())
"""


def test_a_datagram_wakes_a_gear_where_it_may(host: Shell) -> None:
    host.gear("install", TOOLS, "echo", "--start", "-p", f"5353:{PORT}/udp", *PYTHON, "--", "-c", ECHO)
    refused = host.gear("idle", "echo", check=False)
    assert refused.returncode == 64 and "--wake-udp" in refused.stderr
    host.gear("update", "echo", "--wake-udp")
    for depth, address in (("stop", "127.0.0.1"), ("freeze", host.address), ("stop", host.address)):
        idle(host, "echo", "--depth", depth)
        found = host.run(["python3", "-c", DATAGRAM, address, str(PORT)])
        assert found.stdout == "ping\n", "it was held, and delivered"
        eventually(lambda: states(host) == {"echo": "active"}, seconds=60)
    assert json.loads(host.gear("wake-time", "-o", "json", "echo").stdout)[0]["Port"] == PORT


def test_a_scan_of_ports_does_not_wake_them_all(host: Shell) -> None:
    names = ("one", "two", "three")
    host.run(["tee", SETTINGS], stdin="[idling]\nwakes-of-one = 1\n")
    try:
        for number, name in enumerate(names):
            host.gear("install", APP, name, "-p", f"8080:{PORT + number}")
            idle(host, name)
        eventually(lambda: "Hello from one" in _outside(host), seconds=60)
        for number in (1, 2):
            assert host.from_outside(f"http://{host.address}:{PORT + number}/") == ""
        assert [states(host)[name] for name in names] == ["active", "idle", "idle"]
        assert "Hello from two" in page(host, f"{host.address}:{PORT + 1}"), "the host's own are not counted"
    finally:
        host.run(["rm", "-f", SETTINGS])


def test_verbs_end_idling(host: Shell) -> None:
    host.gear("install", APP, "web", "-p", f"8080:{PORT}")
    for verb, after in (("start", "active"), ("restart", "active"), ("stop", "inactive")):
        idle(host)
        host.gear(verb, "web")
        assert states(host) == {"web": after}
        eventually(lambda: str(PORT) not in held(host))
    assert page(host, f"127.0.0.1:{PORT}") == ""
    idle(host)
    host.gear("port", "web", "8080:4102")
    eventually(lambda: "4102" in held(host))
    assert "Hello from web" in page(host, "127.0.0.1:4102")
    idle(host)
    host.gear("delete", "web")
    assert page(host, "127.0.0.1:4102") == ""
    assert host.sh("find /run/geard/idle /var/lib/containers/units -name '*web*'").stdout == ""

    host.gear("install", APP, "none", "-p", "none")
    refused = host.gear("idle", "none", check=False)
    assert refused.returncode == 64
    assert "it publishes no TCP port" in refused.stderr
    assert (
        host.agent("PUT", "/container/nothing/idle", {}, "-o", "/dev/null", "-w", "%{http_code}").stdout == "404"
    )


def test_a_crowd_is_answered(host: Shell) -> None:
    host.gear("install", APP, "web", "-p", f"8080:{PORT}", *LATE)
    said = host.agent("PUT", "/container/web/idle?follow=true", {"Depth": "stop"}).stdout
    assert "web is idle" in said
    eventually(lambda: str(PORT) in held(host))
    crowd = host.run(["python3", "-c", CROWD, str(PORT), "200"], seconds=200)
    assert crowd.stdout.strip() == "{'answered': 200}"


def test_one_that_cannot_start_is_refused_soon(host: Shell) -> None:
    host.gear("install", APP, "web", "-p", f"8080:{PORT}", "--", "/no/such/program")
    idle(host)
    assert page(host, f"127.0.0.1:{PORT}") == ""
    status = host.status("web")
    assert any("no such program" in text for text in status["Advice"])
    assert page(host, f"127.0.0.1:{PORT}") == ""


def test_a_waker_that_is_killed_comes_back(host: Shell) -> None:
    host.gear("install", APP, "web", "-p", f"8080:{PORT}", *LATE)
    idle(host)
    before = main_pid(host, "geard-waker")
    # What it held is lost with it, and comes again: to the next one; where that is not there yet, to be refused.
    asked = f"curl -s --max-time 60 http://127.0.0.1:{PORT}/ >/dev/null & sleep 0.3; kill -9 {before}; wait $!"
    assert host.sh(f"{asked}; echo $?").stdout.strip() in ("0", "7")
    eventually(lambda: main_pid(host, "geard-waker") not in (0, before))
    eventually(lambda: states(host) == {"web": "active"}, seconds=30)
    idle(host)
    assert "Hello from web" in page(host, f"127.0.0.1:{PORT}")


def test_rules_that_are_flushed_are_made_again(host: Shell) -> None:
    host.gear("install", APP, "web", "-p", f"8080:{PORT}")
    idle(host)
    host.sh("nft delete table inet geard_idle")
    eventually(lambda: host.sh("nft list table inet geard_idle", check=False).returncode == 0)
    eventually(lambda: str(PORT) in held(host))
    assert "made again" in host.run(["journalctl", "-u", "geard-waker", "-n", "5", "-o", "cat"]).stdout
    assert "Hello from web" in page(host, f"127.0.0.1:{PORT}")


def test_one_that_goes_while_it_wakes_is_refused(host: Shell) -> None:
    host.gear("install", APP, "web", "-p", f"8080:{PORT}", "--", "sh", "-c", "sleep 30")
    idle(host)
    began = time.monotonic()
    asked = f"curl -s --max-time 60 http://127.0.0.1:{PORT}/; echo $? >/tmp/asked"
    host.run(["systemd-run", "--quiet", "--unit=asker", "sh", "-c", asked])
    eventually(lambda: states(host) == {"web": "active"}, seconds=30)
    host.gear("delete", "web")
    eventually(lambda: host.sh("grep -qx 7 /tmp/asked", check=False).returncode == 0, seconds=30)
    assert time.monotonic() - began < 55, "not only when its patience ended"
    assert states(host) == {}
