"""Links on a real host: what programs reach at addresses of their own, and what becomes of that while they run."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"
PYTHON = ("-v", "/usr:/usr:ro,/usr/lib:/lib:ro,/usr/lib64:/lib64:ro", "--entrypoint", "/usr/bin/python3")
# Says its name, then repeats what it is told, to each who connects; over UDP too.
ECHO = """
import socket, threading, sys
name = sys.argv[1].encode()
def talk(line):
    with line:
        line.sendall(name + b"\\n")
        while data := line.recv(1000):
            line.sendall(data)
def datagrams():
    box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    box.bind(("", 7))
    while True:
        data, asker = box.recvfrom(1000)
        box.sendto(name, asker)
threading.Thread(target=datagrams, daemon=True).start()
server = socket.create_server(("", 7))
while True:
    threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()
"""
# Keeps one connection, and tells how it goes: the name it was told, then a line a tenth of a second.
TALK = """
import socket, time
try:
    line = socket.create_connection(("127.0.0.1", 8081), timeout=3)
    print("met", line.recv(100).decode().strip(), flush=True)
    while True:
        line.sendall(b"still")
        assert line.recv(100), "it hung up"
        print("still", flush=True)
        time.sleep(0.1)
except Exception as error:
    print("over", error, flush=True)
    time.sleep(1000)
"""


def echo(host: Shell, name: str, port: int) -> None:
    ports = f"7:{port},7:{port}/udp"
    host.gear(
        "install", TOOLS, name, "--start", "--stop-timeout", "0", "-p", ports, *PYTHON, "--", "-c", ECHO, name
    )
    eventually(lambda: name in said(host, f"{host.address}", port))


def said(host: Shell, address: str, port: int) -> str:
    """What the host itself is told there."""
    return host.sh(
        f"timeout 2 bash -c 'read -t 2 line </dev/tcp/{address}/{port}; echo $line' 2>&1", check=False
    ).stdout


def met(host: Shell, name: str, place: str) -> str:
    """What the gear's own programs are told at an address and port."""
    address, port = place.split(":")
    return host.inside(name, "timeout", "3", "nc", "-w1", address, port, check=False).stdout.strip()


def sent(host: Shell, name: str, address: str, port: int) -> str:
    script = f"""
import socket
box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
box.settimeout(1)
box.connect(({address!r}, {port}))
try:
    box.send(b"ping")
    print(box.recv(100).decode())
except OSError as error:
    print(error)
"""
    return host.inside(name, "/usr/bin/python3", "-c", script, check=False).stdout.strip()


def written(host: Shell, name: str) -> list[str]:
    """Since it was installed."""
    return host.gear("log", name, "-n", "all", "-o", "cat").stdout.splitlines()


def pid(host: Shell, name: str) -> int:
    return int(host.status(name)["Pid"])


def seen(host: Shell, name: str) -> dict[str, tuple[str, str]]:
    """What `gear links` says of each: where it leads, and the state of that."""
    (found,) = json.loads(host.gear("links", name, "-o", "json").stdout)
    return {f"{link['FromHost']}:{link['FromPort']}": (link["Address"], link["State"]) for link in found["Links"]}


@contextmanager
def program(host: Shell, port: int) -> Generator[None]:
    """A program of the host's own that greets who connects."""
    script = f"import socket; s = socket.create_server(('', {port}))\nwhile 1: s.accept()[0].sendall(b'the host')"
    host.run(["systemd-run", "--quiet", f"--unit=greeter-{port}", "python3", "-c", script])
    eventually(lambda: f":{port} " in host.run(["ss", "-ltn"]).stdout)
    try:
        yield
    finally:
        host.run(["systemctl", "stop", f"greeter-{port}"])


@BOTH
def test_an_address_inside_leads_elsewhere_and_follows_while_it_runs(host: Shell) -> None:
    echo(host, "one", 4107)
    echo(host, "two", 4108)
    links = f"127.0.0.2:8081:{host.address}:4107,192.168.1.1:80:localhost:4107"
    host.gear("install", TOOLS, "web", "-n", links, "--start")
    first = pid(host, "web")
    assert met(host, "web", "127.0.0.2:8081") == "one"
    assert met(host, "web", "192.168.1.1:80") == "one"
    assert met(host, "web", "127.0.0.1:8081") == ""
    assert {state for _, state in seen(host, "web").values()} == {"reachable"}
    told = host.gear("link", "-n", f"127.0.0.2:8081:{host.address}:4108", "web").stdout
    assert "the links of web are changed" in told
    assert met(host, "web", "127.0.0.2:8081") == "two"
    assert met(host, "web", "192.168.1.1:80") == ""
    assert pid(host, "web") == first
    host.gear("restart", "web")
    assert met(host, "web", "127.0.0.2:8081") == "two"
    host.run(["systemctl", "kill", "--signal=KILL", "ctr-web"])
    eventually(lambda: met(host, "web", "127.0.0.2:8081") == "two", 30)
    assert f"127.0.0.2:8081 -> {host.address}:4108" in host.gear("status", "web").stdout
    assert "/ports/links/we/web" in host.gear("cat", "web").stdout
    host.gear("link", "-n", "none", "web")
    assert met(host, "web", "127.0.0.2:8081") == ""


@BOTH
def test_a_gear_that_was_started_without_links_gets_them_while_it_runs(host: Shell) -> None:
    echo(host, "one", 4107)
    host.gear("install", TOOLS, "web", "app", "--start")
    host.gear("link", "-n", "8081:localhost:4107", "web", "app")
    assert [met(host, name, "127.0.0.1:8081") for name in ("web", "app")] == ["one", "one"]


@BOTH
def test_a_link_is_there_before_a_programs_first_call(host: Shell) -> None:
    echo(host, "one", 4107)
    first = "nc -w2 127.0.0.1 8081 </dev/null || echo refused; sleep 1000"
    host.gear("install", TOOLS, "web", "-n", "8081:localhost:4107", "--start", "--stop-timeout", "0",
        "--", "sh", "-c", first)  # fmt: skip
    for _ in range(3):
        host.gear("restart", "web")
    eventually(lambda: written(host, "web").count("one") >= 4)
    assert "refused" not in written(host, "web")


@BOTH
def test_datagrams_are_led_too_and_move_at_once(host: Shell) -> None:
    echo(host, "one", 4107)
    echo(host, "two", 4108)
    host.gear("install", TOOLS, "web", "-n", "192.168.1.1:53:localhost:4107/udp", "--start", *PYTHON,
        "--", "-c", "import time; time.sleep(10000)")  # fmt: skip
    assert sent(host, "web", "192.168.1.1", 53) == "one"
    host.gear("link", "-n", "192.168.1.1:53:localhost:4108/udp", "web")
    assert sent(host, "web", "192.168.1.1", 53) == "two"


@BOTH
def test_a_connection_goes_on_while_its_far_end_lives(host: Shell) -> None:
    echo(host, "one", 4107)
    echo(host, "two", 4108)
    host.run(["systemctl", "start", "geard"])
    host.gear(
        "install",
        TOOLS,
        "web",
        "-n",
        f"8081:{host.address}:4107",
        "--start",
        "--stop-timeout",
        "0",
        *PYTHON,
        "--",
        "-c",
        TALK,
    )

    eventually(lambda: written(host, "web").count("still") >= 3)
    host.gear("link", "-n", f"8081:{host.address}:4108", "web")
    before = written(host, "web").count("still")
    eventually(lambda: written(host, "web").count("still") >= before + 10)
    assert "met one" in written(host, "web") and not [
        line for line in written(host, "web") if line.startswith("over")
    ]


def test_a_connection_ends_where_its_far_end_is_gone_without_a_word(host: Shell) -> None:
    echo(host, "one", 4107)
    echo(host, "two", 4108)
    host.run(["systemctl", "start", "geard"])
    # It only listens: nothing that it sends could come back with a reset.
    listen = """
import socket, time
line = socket.create_connection(("127.0.0.1", 8081), timeout=None)
print("met", line.recv(100).decode().strip(), flush=True)
try:
    print("over", line.recv(100), flush=True)
except OSError as error:
    print("over", error, flush=True)
time.sleep(1000)
"""
    host.gear("install", TOOLS, "web", "-n", f"8081:{host.address}:4107", "--start", "--stop-timeout", "0",
        *PYTHON, "--", "-c", listen)  # fmt: skip
    eventually(lambda: "met one" in written(host, "web"))
    # As with a host that dies: nothing comes through to that far end any more.
    host.sh(
        "nft add table ip gone; nft 'add chain ip gone f { type filter hook postrouting priority 200; }';"
        " nft add rule ip gone f meta l4proto tcp ct original proto-dst 4107 drop"
    )
    try:
        host.gear("link", "-n", f"8081:{host.address}:4108", "web")
        eventually(lambda: any(line.startswith("over") for line in written(host, "web")), 60)
        assert "two" in met(host, "web", "127.0.0.1:8081")
    finally:
        host.sh("nft delete table ip gone")


@BOTH
def test_localhost_is_the_host_and_opens_one_port_for_one_gear(host: Shell) -> None:
    host.gear("install", TOOLS, "web", "other", "--start")
    with program(host, 5433), program(host, 5434):
        gateway = "10.184.0.1" if host.engine == "docker" else "10.183.0.1"
        assert met(host, "web", f"{gateway}:5433") == ""
        host.gear("link", "-n", "5432:localhost:5433", "web")
        assert met(host, "web", "127.0.0.1:5432") == "the host"
        assert met(host, "other", f"{gateway}:5433") == ""
        assert met(host, "web", f"{gateway}:5434") == ""
        host.run(["systemctl", "restart", "geard-host"])
        assert met(host, "web", "127.0.0.1:5432") == "the host"
        host.gear("link", "-n", "none", "web")
        assert met(host, "web", f"{gateway}:5433") == ""
        host.gear("link", "-n", "5432:localhost:5433", "web")
        host.gear("delete", "web")
    assert "elements" not in host.run(["nft", "list", "set", "inet", "geard", "links"]).stdout


def test_a_name_is_followed_by_the_agent(host: Shell) -> None:
    echo(host, "one", 4107)
    host.run(["systemctl", "start", "geard"])
    host.sh("cp /etc/hosts /run/hosts.before; echo '203.0.113.9 moving.example' >>/etc/hosts")
    try:
        host.gear("install", TOOLS, "web", "-n", "8081:moving.example:4107,82:nobody.invalid:80", "--start")
        assert seen(host, "web")["127.0.0.1:82"] == ("", "unresolved")
        assert seen(host, "web")["127.0.0.1:8081"][0] == "203.0.113.9"
        host.sh(f"sed 's/203.0.113.9/{host.address}/' /etc/hosts >/run/hosts && cat /run/hosts >/etc/hosts")
        eventually(lambda: met(host, "web", "127.0.0.1:8081") == "one", 30)
    finally:
        host.sh("cat /run/hosts.before >/etc/hosts")


def test_a_start_waits_for_far_ends_and_never_for_itself(host: Shell) -> None:
    host.gear("install", TOOLS, "web", "-n", "5432:localhost:5435", "--wait-links", "60s", "-p", "80:4180")
    host.gear("start", "web", "--no-wait")
    eventually(lambda: host.status("web")["ActiveState"] == "activating")
    with program(host, 5435):
        eventually(lambda: host.status("web")["ActiveState"] == "active", 20)
    host.gear("link", "-n", "5432:localhost:5435", "--wait-links", "1s", "web")
    failed = host.gear("restart", "web", check=False)
    assert failed.returncode == 1
    assert "waited 1 s for localhost:5435" in failed.stderr
    refused = host.gear("link", "-n", "81:localhost:4180", "--wait-links", "9", "web", check=False)
    assert refused.returncode == 64 and "would wait for itself" in refused.stderr
    host.gear("install", TOOLS, "db", "-p", "80:4181", "-n", "81:localhost:4180", "--wait-links", "9")
    refused = host.gear("link", "-n", "81:localhost:4181", "--wait-links", "9", "web", check=False)
    assert refused.returncode == 64 and "in a circle: web -> db -> web" in refused.stderr


@BOTH
def test_a_program_is_told_of_its_links(host: Shell) -> None:
    links = "db=127.0.0.3:5432:nobody.invalid:1,8081:nobody.invalid:2"
    host.gear("install", TOOLS, "web", "-n", links, "--start", "LINK_PORT=mine")
    lines = host.gear("exec", "web", "--", "env").stdout.splitlines()
    told = dict(line.split("=", 1) for line in lines if "=" in line)
    assert told["DB_PORT_5432_TCP"] == "tcp://127.0.0.3:5432"
    assert told["DB_PORT_5432_TCP_ADDR"] == "127.0.0.3"
    assert told["LINK_PORT_8081_TCP_PORT"] == "8081"
    assert told["LINK_PORT"] == "mine"


def test_links_come_back_with_the_machine_and_go_with_the_gear(host: Shell) -> None:
    echo(host, "one", 4107)
    host.gear("install", TOOLS, "web", "-n", "8081:localhost:4107", "--start")
    host.lab_does("kill", "h1")
    host.lab_does("up")
    eventually(lambda: met(host, "web", "127.0.0.1:8081") == "one", 60)
    host.gear("rollback", "web", check=False)
    assert met(host, "web", "127.0.0.1:8081") == "one"
    host.gear("delete", "web")
    host.gear("install", TOOLS, "web", "--start")
    assert met(host, "web", "127.0.0.1:8081") == ""
    assert host.sh("find /var/lib/containers/ports/links -type f").stdout == ""
