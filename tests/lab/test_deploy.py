"""A deployment over two real hosts: links that follow, moves, changes under load, kills."""

from __future__ import annotations

import json
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest
from lab.labs import Lab
from tests.lab.conftest import APP, Shell, eventually
from tests.lab.fleet import FOLDER, clear, deploy, fleet, seen, write

pytestmark = pytest.mark.lab

A, B = "h1", "h2"
SIMPLE = Path("tests/deployments/fixtures/simple_deploy.json").read_text()


@pytest.fixture(scope="module")
def two(lab: Lab, h1: Shell) -> Generator[tuple[Shell, ...]]:
    with fleet(lab, h1, 2) as hosts:
        yield hosts


def _listens(host: Shell, port: int) -> bool:
    return f":{port} " in host.run(["ss", "-ltn"]).stdout


@pytest.fixture
def hosts(two: tuple[Shell, ...]) -> Generator[tuple[Shell, ...]]:
    clear(two)
    yield two
    clear(two)


def descriptor(count: int, **web: object) -> str:
    given = json.loads(SIMPLE)
    given["Containers"][0] |= {"Count": count, **web}
    return json.dumps(given)


def test_each_finds_the_other_on_the_other_host(hosts: tuple[Shell, ...]) -> None:
    """simple_deploy of the README: `try curling 127.0.0.1:8081 to see the second web container`."""
    h1, h2 = hosts
    write(h1, "simple_deploy.json", SIMPLE)
    assert deploy(h1, "plan", "simple_deploy.json", A, B, check=False).returncode == 2
    deploy(h1, "deploy", "simple_deploy.json", A, B)
    for host, id in ((h1, "web-1"), (h2, "web-2")):
        for port, name in ((8080, "web-1"), (8081, "web-2")):
            eventually(partial(_finds, host, id, port, name))
    pids = [h1.status("web-1")["Pid"], h2.status("web-2")["Pid"]]
    assert "Nothing to change" in deploy(h1, "deploy", "simple_deploy.json", A, B).stdout
    assert deploy(h1, "plan", "simple_deploy.json").returncode == 0
    assert [h1.status("web-1")["Pid"], h2.status("web-2")["Pid"]] == pids


def test_the_readmes_line(hosts: tuple[Shell, ...]) -> None:
    """All on one host, through its own agent; whatever it is linked to is the host itself."""
    h1, _ = hosts
    h1.sh(f"mkdir -p {FOLDER}/deployment/fixtures")
    write(h1, "deployment/fixtures/simple_deploy.json", SIMPLE)
    deploy(h1, "deploy", "deployment/fixtures/simple_deploy.json", "localhost")
    for id in ("web-1", "web-2"):
        eventually(partial(_finds, h1, id, 8081, "web-2"))
        eventually(partial(_finds, h1, id, 8080, "web-1"))


def _finds(host: Shell, id: str, port: int, other: str) -> bool:
    return seen(host, id, port) == f"Hello from {other}"


def test_up_and_down_while_they_run(hosts: tuple[Shell, ...]) -> None:
    h1, h2 = hosts
    write(h1, "app.json", descriptor(2))
    deploy(h1, "deploy", "app.json", A, B)
    pids = [h1.status("web-1")["Pid"], h2.status("web-2")["Pid"]]
    write(h1, "app.json", descriptor(4))
    deploy(h1, "deploy", "app.json")
    eventually(lambda: seen(h1, "web-1", 8083) == "Hello from web-4")
    eventually(lambda: seen(h2, "web-4", 8080) == "Hello from web-1")
    write(h1, "app.json", descriptor(1))
    deploy(h1, "deploy", "app.json")
    assert h2.gear("list", "-a", "-q").stdout == ""
    assert seen(h1, "web-1", 8081) == ""
    write(h1, "app.json", descriptor(2))
    deploy(h1, "deploy", "app.json")
    eventually(lambda: seen(h1, "web-1", 8081) == "Hello from web-2")
    assert h1.status("web-1")["Pid"] == pids[0]


def test_a_member_that_moves_is_followed(hosts: tuple[Shell, ...]) -> None:
    """192.168.1.x as in a replica set: whoever was linked to it finds it at the same address."""
    h1, h2 = hosts
    write(h1, "set.json", descriptor(2, Links=[{"To": "web", "NonLocal": True, "MatchPort": True}]))
    deploy(h1, "deploy", "set.json", A, B)
    eventually(lambda: seen(h1, "web-1", 8080, "192.168.1.2") == "Hello from web-2")
    assert seen(h1, "web-1", 8080, "192.168.1.1") == "Hello from web-1"
    deploy(h1, "deploy", "set.json", A)
    eventually(lambda: seen(h1, "web-1", 8080, "192.168.1.2") == "Hello from web-2")
    assert h2.gear("list", "-a", "-q").stdout == ""
    deploy(h1, "deploy", "set.json", B)
    eventually(lambda: seen(h2, "web-2", 8080, "192.168.1.1") == "Hello from web-1")
    assert h1.gear("list", "-a", "-q").stdout == ""


def test_a_change_arrives_and_a_failed_one_is_taken_back(hosts: tuple[Shell, ...]) -> None:
    h1, h2 = hosts
    write(h1, "app.json", descriptor(2, Environment=[{"Name": "GREETING", "Value": "hello"}]))
    deploy(h1, "deploy", "app.json", A, B)
    write(h1, "app.json", descriptor(2, Environment=[{"Name": "GREETING", "Value": "good bye"}]))
    assert "Environment.GREETING: has another value" in deploy(h1, "plan", "app.json", check=False).stdout
    deploy(h1, "deploy", "app.json")
    eventually(lambda: "GREETING=good bye" in h2.page(h2.port("web-2")))
    write(h1, "app.json", descriptor(2, Image="geard/no-such-image"))
    said = deploy(h1, "deploy", "app.json", "--rollback-on-failure", check=False)
    assert said.returncode != 0
    assert "taken back: web-1 on " in said.stdout, said.stdout + said.stderr
    for host, id in ((h1, "web-1"), (h2, "web-2")):
        eventually(partial(_answers, host, id, "GREETING=good bye"))


def test_the_client_is_killed_at_random_and_a_second_run_ends_it(hosts: tuple[Shell, ...]) -> None:
    h1, h2 = hosts
    for seconds in ("0.15", "0.3", "0.6", "1.2"):
        write(h1, "app.json", descriptor(4, Environment=[{"Name": "ROUND", "Value": seconds}]))
        h1.sh(f"cd {FOLDER} && timeout -s KILL {seconds} gear deploy app.json {A} {B}; true")
        deploy(h1, "deploy", "app.json", A, B)
        assert "Nothing to change" in deploy(h1, "deploy", "app.json").stdout
        for host, ids in ((h1, ("web-1", "web-3")), (h2, ("web-2", "web-4"))):
            assert host.gear("list", "-q").stdout.split() == list(ids)
            for id in ids:
                eventually(partial(_answers, host, id, f"ROUND={seconds}"))
    eventually(lambda: seen(h2, "web-4", 8082) == "Hello from web-3")
    deploy(h1, "undeploy", "app.json")
    assert h1.gear("list", "-a", "-q").stdout == h2.gear("list", "-a", "-q").stdout == ""


def _answers(host: Shell, id: str, text: str) -> bool:
    found = host.run(["curl", "-s", "-m", "3", f"http://127.0.0.1:{host.port(id)}/"], check=False)
    return text in found.stdout


def test_agents_killed_in_the_middle(hosts: tuple[Shell, ...]) -> None:
    h1, h2 = hosts
    write(h1, "app.json", descriptor(4))
    h1.sh(f"cd {FOLDER}; gear deploy app.json {A} {B} >log 2>&1 & sleep 0.4; systemctl kill -s KILL geard; wait")
    h2.run(["systemctl", "kill", "-s", "KILL", "geard"], check=False)
    deploy(h1, "deploy", "app.json", A, B)
    assert "Nothing to change" in deploy(h1, "deploy", "app.json").stdout
    eventually(lambda: seen(h2, "web-2", 8082) == "Hello from web-3")


def test_a_host_port_that_is_taken(hosts: tuple[Shell, ...]) -> None:
    """What is on the way is told, with who is; where it is gone, the same command again goes on."""
    h1, _ = hosts
    h1.run(["systemd-run", "-q", "--collect", "--unit=taker", "socat", "TCP-LISTEN:4555,fork", "EXEC:true"])
    try:
        write(h1, "app.json", descriptor(1, PublicPorts=[{"Internal": 8080, "External": 4555}]))
        eventually(partial(_listens, h1, 4555))
        said = deploy(h1, "deploy", "app.json", A, check=False)
        assert said.returncode == 1
        assert "4555" in said.stderr and "socat" in said.stderr
    finally:
        h1.run(["systemctl", "stop", "taker"])
    deploy(h1, "deploy", "app.json", A)
    assert "Hello from web-1" in h1.page(4555)
    assert h1.run(["gear", "status", "-o", "json", "web-1"]).stdout.count(APP)
