"""Who may wake an idle gear: by which interface they come, and how many one address wakes."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest
from tests.lab.conftest import APP, SETTINGS, Shell, eventually
from tests.lab.test_idling import PORT, idle, page, states

pytestmark = pytest.mark.lab

Client = Callable[[int], str]
"""what is answered at a port of the host; empty where nothing is"""


@pytest.fixture
def near(host: Shell) -> Generator[Client]:
    """Another machine, on an interface of its own: near0."""
    host.sh(
        "ip netns add near && ip link add near0 type veth peer name eth0 netns near"
        " && ip address add 192.0.2.1/24 dev near0 && ip link set near0 up"
        " && ip -n near address add 192.0.2.2/24 dev eth0 && ip -n near link set eth0 up"
    )

    def ask(port: int) -> str:
        words = ["ip", "netns", "exec", "near", "curl", "-s", "-m", "60", f"http://192.0.2.1:{port}/"]
        return host.run(words, check=False).stdout

    try:
        yield ask
    finally:
        host.sh("ip link delete near0; ip netns delete near; rm -f " + SETTINGS, check=False)


def outside(host: Shell, port: int = PORT) -> str:
    return host.from_outside(f"http://{host.address}:{port}/")


def test_by_which_interface_they_come(host: Shell, near: Client) -> None:
    host.gear("install", APP, "asker", "--start", "-p", "none", "-n", f"9000:localhost:{PORT}")
    host.gear("install", APP, "web", "-p", f"8080:{PORT}")

    def linked() -> str:
        words = ("wget", "-T", "60", "-qO-", "http://127.0.0.1:9000/")
        return host.inside("asker", *words, check=False).stdout

    host.run(["tee", SETTINGS], stdin='[idling]\nwake-interfaces = ["near*"]\n')
    idle(host)
    assert outside(host) == linked() == "", "refused: these come by eth0 and geard0"
    assert states(host)["web"] == "idle"
    assert "Hello from web" in near(PORT)

    idle(host)
    host.gear("update", "web", "--wake-interface", "geard0")
    assert near(PORT) == outside(host) == ""
    assert states(host)["web"] == "idle"
    assert "Hello from web" in linked()

    idle(host, "web", "--depth", "freeze")
    assert outside(host) == "", "the kernel would answer in its place: dropped"
    assert states(host)["web"] == "idle"
    assert "Hello from web" in page(host, f"127.0.0.1:{PORT}"), "the host's own come by none"


def test_an_address_that_is_named_wakes_as_many_as_it_likes(host: Shell, near: Client) -> None:
    network = '"192.0.2.2", "0.0.0.0/0"'
    host.run(["tee", SETTINGS], stdin=f"[idling]\nwakes-of-one = 1\nwake-from = [{network}]\n")
    host.run(["systemctl", "restart", "geard-waker"])  # which forgets whom other tests had wake gears
    names = ("one", "two", "three")
    for number, name in enumerate(names):
        host.gear("install", APP, name, "-p", f"8080:{PORT + number}")
        idle(host, name)
    for number in (0, 1):
        assert f"Hello from {names[number]}" in near(PORT + number)
        idle(host, names[number])
    eventually(lambda: "Hello from three" in outside(host, PORT + 2), seconds=60)
    assert outside(host) == outside(host, PORT + 1) == "", "of everybody else one is enough"
    assert [states(host)[name] for name in names] == ["idle", "idle", "active"]
