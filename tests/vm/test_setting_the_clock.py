"""The clock of a running host is set: days ahead, and back behind where it was. A lab host's may not be.

By its name it comes late: entries from a time that was yet to come stand in the journal until its end.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from tests.lab.conftest import APP, Shell, eventually

pytestmark = pytest.mark.lab

NOW = "now() { cut -d' ' -f1 /proc/uptime; }; "
# Connects to it as the first or a later one; says so where nobody answers.
ASK = "ask() { curl -sS -m 80 http://127.0.0.1:$1/ 2>&1 | grep -oE 'Hello from [a-z]*|curl: .*'; }; "
JUMP = "jump() { date -s @$(($(date +%s) + $1 * 86400)) >/dev/null; }; "
IDLE = (
    """idle() { curl -sS -X PUT "http://localhost:43273/container/$1/idle?follow=true" """
    """-H 'Content-Type: application/json' -d '{"Depth": "'$2'"}'; }; """
)


@pytest.fixture
def jumping(host: Shell) -> Generator[Shell]:
    """A host whose clock may be set: in the end it is right again, by the one that only goes forward."""
    right = "$(awk -v now=$(date +%s.%N) '{ printf \"%.3f\", now - $1 }' /proc/uptime)"
    booted = host.sh(f"systemctl start geard.service; echo {right}").stdout.strip()
    yield host
    now = f"$(awk '{{ printf \"%.3f\", {booted} + $1 }}' /proc/uptime)"
    host.sh(f"date -s @{now}; systemctl stop geard.service; journalctl --rotate; rm -f /var/log/journal/*/*@*")


def answer(host: Shell, path: str) -> dict[str, Any]:
    """The agent's: it is there, and a verb takes seconds on such a machine."""
    found: dict[str, Any] = json.loads(host.agent("GET", path, None, "-H", "Accept: application/json").stdout)
    return found


def lines(host: Shell, path: str) -> list[dict[str, Any]]:
    """Of what it streams."""
    text = host.agent("GET", path, None, "-H", "Accept: application/x-ndjson").stdout
    return [line["Item"] for line in map(json.loads, text.splitlines()) if "Item" in line]


def fell_asleep(host: Shell, name: str) -> list[float]:
    """When, in seconds since the boot."""
    words = ["journalctl", "-q", "-o", "json", "GEARD_EVENT=idled", f"GEARD_GEAR={name}"]
    told = [json.loads(line) for line in host.run(words).stdout.splitlines()]
    return [int(each["__MONOTONIC_TIMESTAMP"]) / 1e6 for each in told]


def test_gears_wake_and_sleep_and_restart_whatever_the_clock_says(jumping: Shell) -> None:
    host = jumping
    host.gear("install", APP, "web", "still", "--start")
    host.gear("install", APP, "drowsy", "--start", "--idle-after", "1m")
    web, still, drowsy = (host.port(name) for name in ("web", "still", "drowsy"))
    functions = NOW + ASK + JUMP + IDLE

    # Ahead: who sleeps is woken, and one that has been quiet for seconds does not fall asleep in the next look.
    ahead = (
        f"idle web stop; idle still freeze; ask {drowsy}; now; jump 3; ask {still}; ask {web}; "
        f"idle web stop; idle still freeze; sleep 16; ask {drowsy}; now"
    )
    told = host.sh(functions + ahead).stdout.splitlines()
    hellos = [line for line in told if line.startswith("Hello")]
    assert hellos == [f"Hello from {name}" for name in ("drowsy", "still", "web", "drowsy")], told
    first, second = (float(line) for line in told if line.replace(".", "").isdigit())

    # Back, behind where it was: they sleep since a time that is yet to come.
    back = (
        f"jump -5; curl -sS http://localhost:43273/metrics | grep '^geard_idle_seconds'; ask {still}; ask {web}; "
        "cat /run/geard/gears/ctr-web/pid; echo; date +%Y-%m-%d"
    )
    asleep, *hellos, pid, today = host.sh(functions + back).stdout.splitlines()
    assert float(asleep.split()[1]) >= 0
    assert hellos == ["Hello from still", "Hello from web"]
    woken = answer(host, "/container/web/wake")
    steps = [step["Ms"] for step in woken["Steps"]]
    assert str(woken["At"]).startswith(today) and steps == sorted(steps) and 0 <= steps[0] <= steps[-1] < 90_000
    kinds = [event["Kind"] for event in lines(host, "/events?follow=false&since=30d&gear=web&kind=idled,woken")]
    assert kinds == ["idled", "woken", "idled", "woken"], "in the order in which it was"

    # What runs was started by a clock that was ahead, or is by one that is behind: both are restarted.
    for _ in range(2):
        host.agent("POST", "/container/web/restart?follow=true")
        before, pid = pid, host.sh("cat /run/geard/gears/ctr-web/pid").stdout.strip()
        assert pid != before
    status = answer(host, "/container/web/status")
    assert str(status["Since"]).startswith(today) and str(status["Log"][-1]).startswith(today)
    log = lines(host, "/container/web/log?follow=false")
    assert str(log[-1]["Time"]).startswith(today), "it was installed at a time that is yet to come"

    # A minute after the last connection, by the clock that only goes forward.
    eventually(lambda: [at for at in fell_asleep(host, "drowsy") if at > second], seconds=150)
    for at in fell_asleep(host, "drowsy"):
        assert at - (second if at > second else first) >= 60
