"""Updates and their way back on real podman: which image runs is settled once, and stays until somebody asks."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "docker.io/geard/test-tools"
APP = "geard/busybox-http-app"
NAME = "h1:5000/geard/moving"


@pytest.fixture
def moving(host: Shell) -> Generator[Shell]:
    """A host with a registry in which `h1:5000/geard/moving:latest` can mean something new."""
    host.run(["systemctl", "start", "docker-registry"])
    eventually(lambda: host.run(["curl", "-s", "http://h1:5000/v2/"], check=False).returncode == 0)
    yield host
    host.run(["systemctl", "stop", "docker-registry"])
    host.sh("gear delete --purge $(gear list -aq)", check=False)
    for engine in {"podman", host.engine}:
        mine = f"({engine} images -q {NAME}; {engine} images -q -f dangling=true) | sort -u"
        host.sh(f"{mine} | xargs -r {engine} rmi -f", check=False)


def publish(host: Shell, word: str) -> None:
    """Let the name mean an image that says `word`. It is not in the host's own store afterwards."""
    text = f'FROM {TOOLS}\nENV WORD={word}\nCMD ["sh", "-c", "trap \'exit 0\' TERM; sleep 9999 & wait"]\n'
    host.run(["podman", "build", "-q", "-t", NAME, "-"], stdin=text)
    host.run(["podman", "push", "-q", NAME])
    host.run(["podman", "rmi", "-f", NAME], check=False)


def forget_image(host: Shell, name: str) -> None:
    """As if somebody had tidied up the engine's store."""
    image = host.sh(
        f"sed -n 's/^GEAR_IMAGE=\"\\(.*\\)\"$/\\1/p' /var/lib/containers/units/{name[:2]}/ctr-{name}.run"
    )
    host.run([host.engine, "rmi", "-f", image.stdout.strip().removeprefix("sha256:")])


def versions(host: Shell, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(host.gear("history", name, "-o", "json").stdout)[0]["Versions"]
    return found


def word(host: Shell, name: str = "web") -> str:
    return host.gear("exec", name, "--", "sh", "-c", "echo $WORD").stdout.strip()


@BOTH
def test_the_image_of_a_gear_stays_until_an_update_asks_anew(moving: Shell) -> None:
    host = moving
    publish(host, "one")
    host.gear("install", NAME, "web", "--start")
    digest = host.status("web")["Digest"]
    publish(host, "two")
    host.gear("restart", "web")
    assert (word(host), host.status("web")["Digest"]) == ("one", digest)
    host.lab_does("reboot", "h1")
    host.run(["systemctl", "start", "docker-registry"])
    eventually(lambda: host.status("web")["ActiveState"] == "active", 30)
    assert word(host) == "one", "a reboot picks no other"
    host.gear("stop", "web")
    forget_image(host, "web")
    assert "web is running" in host.gear("start", "web").stdout
    assert (word(host), host.status("web")["Digest"]) == ("one", digest), "fetched again by its digest"
    assert "web is running" in host.gear("update", "web").stdout
    assert word(host) == "two"
    assert "web is running" in host.gear("rollback", "web").stdout
    assert word(host) == "one"


@BOTH
def test_several_updates_and_the_way_back(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:0", "A=1")
    port = host.port("web")
    drop_in = "/etc/systemd/system/ctr-web.service.d/ours.conf"
    host.sh(f"mkdir -p $(dirname {drop_in}); printf '[Service]\\nNice=7\\n' > {drop_in}; systemctl daemon-reload")
    for number in range(1, 5):
        host.gear("update", "web", "--memory", f"{100 + number}m", "--later")
    host.gear("update", "web", "--memory", "105m")
    host.gear("update", "web", "--memory", "106m")
    rows = versions(host, "web")
    assert len(rows) == 5, "the newest five are kept"
    assert rows[0]["Changes"] == ["memory 105M -> 106M"]
    assert (rows[0]["Installed"], rows[0]["Running"]) == (True, True)
    assert host.port("web") == port
    host.gear("rollback", "web", rows[3]["Version"])
    assert host.run([host.engine, "inspect", "ctr-web", "-f", "{{.HostConfig.Memory}}"]).stdout == f"{103 << 20}\n"
    assert "web" in host.page(port)
    assert host.run(["systemctl", "show", "-P", "Nice", "ctr-web"]).stdout == "7\n", "a drop-in is kept"
    assert drop_in in host.gear("cat", "web").stdout
    assert host.gear("env", "web").stdout == "A=1\n"
    host.sh(f"rm -r $(dirname {drop_in}); systemctl daemon-reload")


def test_a_change_for_later(host: Shell) -> None:
    host.gear("install", APP, "web", "--start")
    pid = host.status("web")["Pid"]
    said = host.gear("update", "web", "--memory", "99m", "--later").stdout
    assert "comes with the next start" in said
    status = host.status("web")
    assert status["Pid"] == pid and status["RunningVersion"] != status["InstalledVersion"]
    assert (
        f"running {status['RunningVersion']}, installed {status['InstalledVersion']}"
        in host.gear("status", "web").stdout
    )
    host.gear("restart", "web")
    status = host.status("web")
    assert status["RunningVersion"] == status["InstalledVersion"]


def test_an_update_that_a_registry_refuses_takes_nothing_away(moving: Shell) -> None:
    host = moving
    publish(host, "one")
    host.gear("install", NAME, "web", "--start")
    pid, before = host.status("web")["Pid"], versions(host, "web")
    refused = host.gear("update", "web", "--image", "h1:5000/geard/nosuch", check=False)
    assert refused.returncode == 5
    assert (host.status("web")["Pid"], versions(host, "web")) == (pid, before)


def test_an_update_goes_on_with_the_next_agent(moving: Shell) -> None:
    """The agent is killed while it waits for a pull."""
    host = moving
    publish(host, "one")
    host.gear("install", NAME, "web", "--start")
    digest = host.status("web")["Digest"]
    publish(host, "two")
    # A registry that answers nobody for a while.
    host.run(["systemctl", "kill", "-s", "STOP", "docker-registry"])
    try:
        said = host.agent("PATCH", "/container/web", {}).stdout
        assert "is being updated" in said
        eventually(lambda: "activating" in host.sh("systemctl list-units --all 'geard-pull@*'").stdout)
        host.run(["systemctl", "kill", "-s", "KILL", "geard.service"])
    finally:
        host.run(["systemctl", "kill", "-s", "CONT", "docker-registry"])
    assert word(host) == "one"
    host.run(["systemctl", "start", "geard.service"])
    eventually(lambda: host.status("web")["Digest"] != digest, 60)
    eventually(lambda: host.status("web")["ActiveState"] == "active")
    assert word(host) == "two"
    assert host.sh("find /var/lib/containers/units -name update-owed").stdout == ""
