"""`gear cron` on a real host: jobs that systemd starts by the calendar, also where no agent runs."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from tests.lab.conftest import Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"


@pytest.fixture
def timers(host: Shell) -> Generator[Shell]:
    host.sh("systemctl stop geard.service; rm -rf /tmp/gate; mkdir /tmp/gate")
    yield host
    for name in host.gear("cron", "list", "-o", "name").stdout.split():
        host.gear("cron", "remove", name)


def shown(host: Shell, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(host.gear("cron", "show", "-o", "json", name).stdout)
    return found[0]


def states(host: Shell, name: str) -> list[str]:
    return [job["State"] for job in shown(host, name)["Jobs"]]


def test_a_timer(timers: Shell) -> None:
    told = timers.gear("cron", "add", "tick", "*:*:0/2", TOOLS, "--", "echo", "ticking").stdout
    assert told.startswith("tick: next at 20")
    eventually(lambda: states(timers, "tick").count("ended") >= 2, 60)
    timers.gear("cron", "suspend", "tick")
    assert shown(timers, "tick")["Suspended"]
    assert timers.sh("systemctl is-active cron-tick.timer", check=False).stdout == "inactive\n"
    job = shown(timers, "tick")["Jobs"][-1]
    assert job["Id"].startswith("tick-20")
    assert timers.gear("job", "log", job["Id"]).stdout == "ticking\n"
    timers.gear("cron", "resume", "tick")
    assert timers.sh("systemctl is-active cron-tick.timer").stdout == "active\n"
    assert "ended with 0" in timers.gear("cron", "history", "tick").stdout
    timers.gear("cron", "remove", "tick")
    assert (
        timers.sh("systemctl list-units --all --plain --no-legend 'cron-*'; ls /etc/systemd/system").stdout.count(
            "cron-tick"
        )
        == 0
    )


@pytest.mark.parametrize(("overlap", "running", "ended"), [("forbid", 1, 0), ("allow", 2, 0), ("replace", 1, 1)])
def test_overlap(timers: Shell, overlap: str, running: int, ended: int) -> None:
    timers.gear("cron", "add", "--overlap", overlap, "--stop-timeout", "1", "slow", "2099-01-01", TOOLS, "--",
                "sleep", "1000")  # fmt: skip
    timers.gear("cron", "run", "slow")
    eventually(lambda: states(timers, "slow") == ["running"], 30)
    timers.gear("cron", "run", "slow")
    wanted = ["ended"] * ended + ["running"] * running
    eventually(lambda: sorted(states(timers, "slow")) == wanted and (overlap != "forbid" or _skipped(timers)), 45)
    for job in shown(timers, "slow")["Jobs"]:
        timers.gear("job", "cancel", job["Id"])


def _skipped(host: Shell) -> bool:
    return "left out" in host.gear("cron", "history", "slow").stdout


def test_what_systemd_does_not_know(timers: Shell) -> None:
    for schedule in ("whenever", "1999-01-01", "hourly\nOnBootSec=1", "", "--help"):
        refused = timers.run(["gear", "cron", "add", "bad", "--", schedule, TOOLS, "true"], check=False)
        assert refused.returncode == 64, (schedule, refused.stderr)
    assert timers.gear("cron", "list", "-o", "name").stdout == ""
    refused = timers.run(["gear", "cron", "add", "../x", "hourly", TOOLS], check=False)
    assert refused.returncode == 64


def test_after_a_boot(timers: Shell) -> None:
    """As geard-boot.service has it done, with systemd's links lost."""
    timers.gear("cron", "add", "late", "hourly", TOOLS, "--", "true")
    timers.gear("cron", "add", "rests", "hourly", TOOLS, "--", "true")
    timers.gear("cron", "suspend", "rests")
    timers.sh("systemctl stop cron-late.timer; rm /etc/systemd/system/cron-*; systemctl daemon-reload")
    timers.sh("grep -q 'gear cron boot' /usr/lib/systemd/system/geard-boot.service && gear cron boot")
    active = timers.sh("systemctl is-active cron-late.timer cron-rests.timer", check=False).stdout
    assert active == "active\ninactive\n"
