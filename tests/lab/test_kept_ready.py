"""Gears that are idle by `stop` and whose container is kept made, on a real host: what a wake finds of it."""

from __future__ import annotations

import json
import time

import pytest
from tests.lab.conftest import APP, SETTINGS, Shell, eventually
from tests.lab.test_idling import PORT, idle, main_pid, page, states

pytestmark = pytest.mark.lab

READY = "/run/geard/gears/ctr-web/ready"


def is_ready(host: Shell) -> bool:
    return "ctr-web Initialized" in host.sh("podman ps -a --format '{{.Names}} {{.Status}}'").stdout.splitlines()


def asleep(host: Shell) -> None:
    idle(host)
    assert is_ready(host)


def steps(host: Shell) -> list[str]:
    """Of its last wake."""
    found = json.loads(host.gear("wake-time", "-o", "json", "web").stdout)[0]
    return [step["Name"] for step in found["Steps"]]


def wake(host: Shell, *words: str) -> list[str]:
    answer = page(host, f"127.0.0.1:{PORT}")
    assert all(word in answer for word in ("Hello from web", *words))
    eventually(lambda: states(host) == {"web": "active"})
    eventually(lambda: host.gear("wake-time", "web", check=False).returncode == 0)
    return steps(host)


def test_only_its_program_has_to_begin(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}")
    asleep(host)
    status = host.status("web")
    assert (status["ActiveState"], status["SubState"], status["Pid"]) == ("idle", "stopped", 0)
    assert "its container kept ready" in host.gear("status", "web").stdout
    assert host.gear("exec", "web", "--", "id", check=False).returncode == 125
    process = host.sh("cat /run/geard/gears/ctr-web/pid").stdout
    slept = status["Since"]  # in seconds
    time.sleep(1)
    host.gear("idle", "web")
    assert host.sh("cat /run/geard/gears/ctr-web/pid").stdout == process, "asking twice makes nothing anew"
    assert wake(host) == ["asked", "begun", "listens"]
    assert host.sh("cat /run/geard/gears/ctr-web/pid").stdout == process
    assert host.status("web")["Since"] > slept, "not since its container was made"
    assert "ctr-web\n" not in host.gear("log", "web").stdout, "podman's own word"
    host.gear("exec", "web", "--", "true")
    events = [json.loads(line) for line in host.gear("events", "-o", "json", "web").stdout.splitlines()]
    assert [event["Kind"] for event in events][-4:] == ["idled", "stopping", "stopped", "woken"]
    assert "its program ended with status" in host.gear("stop", "web").stdout, "by its own signal, in its time"


def test_it_is_made_anew_where_something_has_changed(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}", "WORD=old")
    for change, words in (
        (("set-env", "web", "WORD=new"), ("WORD=new",)),
        (("update", "web", "--memory", "100M"), ()),
        (("link", "-n", "9000:localhost:9001", "web"), ()),
    ):
        asleep(host)
        host.gear(*change)
        assert states(host) == {"web": "idle"}
        wake(host, *words)
    assert "100M" in host.gear("status", "web").stdout
    asleep(host)
    host.gear("set-env", "web", "WORD=newer")
    # The agent, where it runs, sees to it in its own time.
    host.agent("GET", "/containers")
    made = host.sh(f"stat -c %i {READY}").stdout
    eventually(lambda: host.sh(f"stat -c %i {READY}", check=False).stdout not in ("", made), seconds=90)
    eventually(lambda: is_ready(host), seconds=60)
    assert wake(host, "WORD=newer") == ["asked", "begun", "listens"]


def test_it_is_told_something_else(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}")
    asleep(host)
    assert "web is running" in host.gear("start", "web").stdout
    assert "Hello from web" in page(host, f"127.0.0.1:{PORT}")
    asleep(host)
    assert "web is stopped (it was idle)" in host.gear("stop", "web").stdout
    assert (states(host), host.containers) == ({"web": "inactive"}, [])
    host.gear("idle", "web")
    assert is_ready(host), "one that did not run is made ready too"
    host.gear("idle", "web", "--depth", "freeze")
    assert host.status("web")["SubState"] == "stopped", "there is nothing to freeze"
    host.gear("delete", "web")
    assert host.containers == []


def test_a_container_that_goes_leaves_an_idle_gear(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}")
    asleep(host)
    host.sh(f"kill -9 {main_pid(host, 'ctr-web')}")
    eventually(lambda: host.sh("systemctl is-active ctr-web", check=False).stdout in ("inactive\n", "failed\n"))
    status = host.status("web")
    assert (status["ActiveState"], status["SubState"], status["Restarts"]) == ("idle", "stopped", 0)
    assert "begun" not in wake(host)


def test_none_is_kept_where_none_is_wanted(host: Shell) -> None:
    host.run(["tee", SETTINGS], stdin="[idling]\nready = 0\n")
    try:
        host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}")
        idle(host)
        assert (states(host), host.containers) == ({"web": "idle"}, [])
        assert "prepared" in wake(host)
    finally:
        host.run(["rm", "-f", SETTINGS])


def test_a_wake_that_is_killed_is_done_again(host: Shell) -> None:
    """gear-wake is killed while podman has the program begin; the waker asks another."""
    host.gear("install", APP, "web", "--start", "-p", f"8080:{PORT}")
    asleep(host)
    kill = "until [ -e /run/geard/gears/ctr-web/beginning ]; do :; done; systemctl kill -s KILL geard-wake.service"
    host.run(["systemd-run", "--quiet", "--collect", "--unit=killer", "sh", "-c", kill])
    assert "Hello from web" in page(host, f"127.0.0.1:{PORT}")
    eventually(lambda: states(host) == {"web": "active"})
    host.gear("exec", "web", "--", "true")
