"""Ports on a real host: UDP, addresses, changes while a gear runs, and other programs in the way."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"
# Nothing in the image answers UDP; the host's own python does.
PYTHON = ("-v", "/usr:/usr:ro,/usr/lib:/lib:ro,/usr/lib64:/lib64:ro", "--entrypoint", "/usr/bin/python3")
ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 5353))
while True:
    text, asker = server.recvfrom(100)
    server.sendto(text, asker)
"""


def page(host: Shell, place: str) -> str:
    """What a program of the host is answered; empty where it is refused."""
    found = host.run(["curl", "-gs", "--max-time", "5", f"http://{place}/"], check=False)
    assert found.returncode in (0, 7), f"{place}: neither answered nor refused, curl says {found.returncode}"
    return found.stdout


def answers(host: Shell, name: str, port: int) -> bool:
    """Whether a gear that is coming up is up; while it is not, the port may be held by its engine already."""
    found = host.run(["curl", "-gs", "--max-time", "2", f"http://127.0.0.1:{port}/"], check=False)
    return f"Hello from {name}" in found.stdout


def datagram(host: Shell, address: str, port: int) -> str:
    """What comes back for one datagram; empty where nothing does within a second."""
    script = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(1)
    client.connect(({address!r}, {port}))
    try:
        client.send(b"ping")
        print(client.recv(100).decode())
    except OSError:
        pass
"""
    return host.run(["python3", "-c", script]).stdout.strip()


@contextmanager
def listener(host: Shell, port: int, address: str = "0.0.0.0") -> Generator[None]:
    """A program of the host's own that listens on a port."""
    script = f"import socket, signal; s = socket.create_server(({address!r}, {port})); signal.pause()"
    unit = f"listener-{port}"
    host.run(["systemd-run", "--quiet", f"--unit={unit}", "python3", "-c", script])
    eventually(lambda: f":{port} " in host.run(["ss", "-ltn"]).stdout)
    try:
        yield
    finally:
        host.run(["systemctl", "stop", unit])


def main_pid(host: Shell, name: str) -> int:
    return int(host.status(name)["Pid"])


def reserved(host: Shell) -> set[str]:
    return set(host.sh("find /var/lib/containers/ports -type l -printf '%f\n'").stdout.split())


@BOTH
def test_a_gear_answers_udp(host: Shell) -> None:
    host.gear("install", TOOLS, "echo", "--start", "-p", "5353:4353/udp", *PYTHON, "--", "-c", ECHO)
    for address in ("127.0.0.1", host.address):
        eventually(partial(datagram, host, address, 4353))
    assert reserved(host) == {"4353.udp"}
    assert "5353/udp -> 4353" in host.gear("status", "echo").stdout
    host.gear("port", "echo", "5353:4354/udp")
    assert datagram(host, host.address, 4354) == "ping"
    assert datagram(host, host.address, 4353) == ""


@BOTH
def test_an_address_is_the_only_door(host: Shell) -> None:
    ipv6 = host.sh("ip -6 -o addr show dev eth0 scope global | awk '{print $4}' | cut -d/ -f1").stdout.strip()
    host.gear("install", APP, "here", "--start", "-p", "8080:127.0.0.1:4100")
    host.gear("install", APP, "there", "--start", "-p", f"8080:{host.address}:4101")
    host.gear("install", APP, "six", "--start", "-p", f"8080:[{ipv6}]:4102")
    eventually(lambda: "here" in page(host, "127.0.0.1:4100"))
    assert page(host, f"{host.address}:4100") == ""
    assert host.from_outside(f"http://{host.address}:4100/") == ""
    assert page(host, "127.0.0.1:4101") == ""
    eventually(lambda: "there" in host.from_outside(f"http://{host.address}:4101/"))
    eventually(lambda: "six" in page(host, f"[{ipv6}]:4102"))
    assert page(host, "127.0.0.1:4102") == ""
    lines = [line.split() for line in host.gear("ports", "here", "six").stdout.splitlines()[1:]]
    assert lines == [["here", "8080", "4100", "tcp", "127.0.0.1"], ["six", "8080", "4102", "tcp", ipv6]]
    text = host.agent("GET", "/container/here/ports").stdout
    assert json.loads(text)["Ports"][0]["Address"] == "127.0.0.1"


@pytest.mark.parametrize("address", ["[::1]", "203.0.113.9"])
def test_an_address_that_leads_nowhere_is_refused(host: Shell, address: str) -> None:
    refused = host.gear("install", APP, "web", "-p", f"8080:{address}:4100", check=False)
    assert refused.returncode == 64
    assert "nothing can be published on" in refused.stderr
    assert reserved(host) == set()


def test_the_admins_address_holds_where_none_is_asked_for(host: Shell) -> None:
    settings = '[ports]\npublish = "127.0.0.1"\nrange = "4800-4899"\n'
    host.run(["tee", "/etc/geard/geard.toml"], stdin=settings)
    try:
        host.gear("install", APP, "exposed", "--start")
        host.gear("install", APP, "all", "--start", "-p", "8080:*:4100")
        port = host.port("exposed")
        assert 4800 <= port <= 4899
        assert "exposed" in page(host, f"127.0.0.1:{port}")
        assert page(host, f"{host.address}:{port}") == ""
        assert "all" in page(host, f"{host.address}:4100")
    finally:
        host.sh("rm /etc/geard/geard.toml")


@BOTH
def test_ports_change_while_a_gear_runs(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:4100,9999:4101")
    pid = main_pid(host, "web")
    said = host.gear("port", "web", "8080:4200", "--remove", "9999").stdout
    assert said == "PortMapping: 8080 -> 4200\nweb is changed, without a restart\n"
    eventually(lambda: "web" in page(host, "127.0.0.1:4200"))
    assert "web" in host.from_outside(f"http://{host.address}:4200/")
    for place in (f"127.0.0.1:{port}" for port in (4100, 4101)):
        assert page(host, place) == ""
    assert host.from_outside(f"http://{host.address}:4100/") == ""
    assert main_pid(host, "web") == pid
    status = host.status("web")
    assert status["InstalledVersion"] == status["RunningVersion"]
    assert status["Advice"] == []

    host.gear("port", "web", "8080:127.0.0.1:4200")
    assert "web" in page(host, "127.0.0.1:4200")
    assert page(host, f"{host.address}:4200") == ""
    taken = host.gear("install", APP, "other", "-p", "8080:4100", check=False)
    assert "port 4100/tcp belongs to gear web" in taken.stderr, "the engine holds it until the gear ends"

    host.gear("restart", "web")
    assert "web" in page(host, "127.0.0.1:4200")
    assert host.run(["nft", "list", "table", "inet", "geard_ports"], check=False).returncode != 0
    assert reserved(host) == {"4200"}


@BOTH
def test_a_connection_that_is_there_goes_on(host: Shell) -> None:
    host.gear(
        "install", TOOLS, "echo", "--start", "-p", "7:4107,8:4108", "--", "nc", "-ll", "-p", "7", "-e", "cat"
    )
    script = """
import socket, subprocess, sys
with socket.create_connection(("127.0.0.1", 4107), timeout=5) as client:
    client.sendall(b"one")
    assert client.recv(3) == b"one"
    subprocess.run(["gear", "port", "echo", "8:4208"], check=True)
    client.sendall(b"two")
    assert client.recv(3) == b"two"
    subprocess.run(["gear", "port", "echo", "7:4207"], check=True)
    client.sendall(b"end")
    assert client.recv(3) == b"end"
with socket.create_connection(("127.0.0.1", 4207), timeout=5) as client:
    client.sendall(b"new")
    assert client.recv(3) == b"new"
"""
    eventually(lambda: host.run(["python3", "-c", script], check=False).returncode == 0, 10)


@BOTH
def test_what_was_changed_while_it_ran_is_what_a_crash_and_a_boot_bring_back(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:4100")
    host.gear("port", "web", "8080:4200")
    first = main_pid(host, "web")
    host.run(["systemctl", "kill", "--signal=KILL", "ctr-web"])
    eventually(lambda: main_pid(host, "web") not in (0, first) and answers(host, "web", 4200), 30)
    assert page(host, "127.0.0.1:4100") == ""
    assert host.sh("ls /run/geard/ports").stdout == ""
    host.gear("port", "web", "8080:4300")
    host.lab_does("kill", "h1")
    host.lab_does("up")
    eventually(lambda: answers(host, "web", 4300), 60)
    assert page(host, "127.0.0.1:4200") == ""
    host.gear("restart", "web")
    assert reserved(host) == {"4300"}


def test_over_http_and_through_an_agent_that_is_killed(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:4100")
    body = {"Ports": [{"Internal": 8080, "External": 4200, "Address": "127.0.0.1"}]}
    said = host.agent("PUT", "/container/web/ports?follow=true", body, "-D", "/dev/stderr")
    assert "PortMapping: 8080 -> 127.0.0.1:4200" in said.stdout
    assert "X-PortMapping: 8080:4200" in said.stderr.replace("\r", "")
    assert "web" in page(host, "127.0.0.1:4200")
    host.run(["systemctl", "kill", "--signal=KILL", "geard"])
    assert "web" in page(host, "127.0.0.1:4200"), "no agent is needed for it"
    host.agent("PUT", "/container/web/ports?follow=true", {"Remove": [{"Internal": 8080}]})
    assert page(host, "127.0.0.1:4200") == ""
    assert page(host, "127.0.0.1:4100") == ""


def test_a_port_that_another_program_has_is_refused_with_its_name(host: Shell) -> None:
    with listener(host, 4100):
        refused = host.gear("install", APP, "web", "-p", "8080:4100", check=False)
        assert refused.returncode == 1
        assert "port 4100/tcp is taken on this host: python3 (process " in refused.stderr
        assert reserved(host) == set()
    with listener(host, 4101, "127.0.0.1"):
        host.gear("install", APP, "web", "--start", "-p", f"8080:{host.address}:4101")
        eventually(lambda: "web" in host.from_outside(f"http://{host.address}:4101/"))


@BOTH
def test_who_asks_localhost_is_not_left_waiting_on_ipv6(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:4100")
    eventually(lambda: answers(host, "web", 4100))
    for port in (4100, 4101):
        host.gear("port", "web", f"8080:{port}")
        asked = host.run(["curl", "-gs", "--max-time", "60", f"http://[::1]:{port}/"], check=False)
        assert asked.returncode in (0, 7), "answered (by docker-proxy) or refused, and not waited for"


def test_a_port_taken_between_install_and_start_is_told_and_waited_for(host: Shell) -> None:
    host.gear("install", APP, "web", "-p", "8080:4100")
    with listener(host, 4100):
        failed = host.gear("start", "web", check=False)
        assert failed.returncode == 1
        assert "port 4100/tcp of this host is taken: python3 (process " in failed.stderr
        assert "gear port web 8080:NUMBER" in host.gear("status", "web").stdout
    eventually(lambda: answers(host, "web", 4100), 40)


def test_who_comes_while_it_starts_is_refused_and_not_left_waiting(host: Shell) -> None:
    """podman by itself would accept the connection, and nobody would ever answer it."""
    host.gear("install", APP, "web", "--start", "-p", "8080:4100")
    eventually(lambda: answers(host, "web", 4100))
    script = """
import subprocess, socket
restart = subprocess.Popen(["gear", "restart", "web"], stdout=subprocess.DEVNULL)
clients = []
while restart.poll() is None:
    client = socket.socket()
    client.settimeout(30)
    if client.connect_ex(("127.0.0.1", 4100)) == 0:
        clients.append(client)
        client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
print(len(clients))
for client in clients:
    try:
        client.recv(1)  # an answer, an end, a reset: not a silence
    except ConnectionError:
        pass
"""
    host.run(["python3", "-c", script])
    eventually(lambda: answers(host, "web", 4100))
