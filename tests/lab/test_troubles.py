"""What goes wrong on real hosts, and what an admin is told."""

from __future__ import annotations

from functools import partial

import pytest
from tests.lab.conftest import Shell, eventually

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"


def test_a_program_that_is_not_there_fails_at_once(host: Shell) -> None:
    done = host.gear("install", TOOLS, "nocmd", "--start", "--", "/no/such/program", check=False)
    assert done.returncode == 1
    assert "no such program" in done.stderr
    status = host.status("nocmd")
    assert status["ActiveState"] == "failed" and status["ExitStatus"] == 127
    assert any("/no/such/program" in line for line in status["Log"])


def test_a_program_that_crashes_is_restarted_and_told(host: Shell) -> None:
    done = host.gear(
        "install", TOOLS, "crash", "--start", "--", "sh", "-c", "echo last words; exit 3", check=False
    )
    assert done.returncode == 1
    assert "status 3" in done.stderr
    assert host.status("crash")["SubState"] == "auto-restart"
    assert "last words" in host.gear("log", "crash").stdout
    eventually(lambda: host.status("crash")["Restarts"] >= 1)
    host.gear("stop", "crash")
    assert host.status("crash")["ActiveState"] == "inactive"


def test_a_program_that_is_killed_comes_back(host: Shell) -> None:
    host.gear("install", APP, "tough", "--start", "-p", "8080:0")
    port = host.port("tough")
    for victim in ("$(cat /run/geard/gears/ctr-tough/pid)", "$(systemctl show -P MainPID ctr-tough)"):
        restarts = host.status("tough")["Restarts"]
        host.sh(f"kill -9 {victim}")
        eventually(partial(_restarted_since, host, restarts))
        eventually(
            lambda: "tough" in host.run(["curl", "-s", "-m", "2", f"http://127.0.0.1:{port}/"], check=False).stdout
        )
    assert len(host.run(["podman", "ps", "-aq"]).stdout.split()) == 1


def _restarted_since(host: Shell, before: int) -> bool:
    return bool(host.status("tough")["Restarts"] > before)


def test_no_image_and_no_registry(host: Shell) -> None:
    """An outage does not end a gear for good: systemd goes on trying, and status says why."""
    done = host.gear("install", "geard/not-there", "orphan", "--start", check=False)
    assert done.returncode != 0
    assert "cannot pull docker.io/geard/not-there:latest" in done.stderr
    eventually(lambda: host.status("orphan")["SubState"] == "auto-restart")
    assert any("cannot pull" in text for text in host.status("orphan")["Advice"])
    host.run(["podman", "tag", "docker.io/geard/test-tools", "docker.io/geard/not-there"])
    eventually(lambda: host.status("orphan")["ActiveState"] == "active", 30)
    name = "docker.io/geard/not-there"
    host.run(["podman", "untag", name, name])


def test_a_kill_for_memory_is_told_with_the_remedy(host: Shell) -> None:
    eat = 'sleep 1; x=$(head -c 100m /dev/zero | tr "\\0" x); echo ${#x}'
    host.gear("install", TOOLS, "hog", "--start", "--memory", "20m", "--", "sh", "-c", eat)
    eventually(lambda: any("--memory" in text for text in host.status("hog")["Advice"]))


def test_stop_of_a_program_that_ignores_term(host: Shell) -> None:
    host.gear(
        "install",
        TOOLS,
        "deaf",
        "--start",
        "--stop-timeout",
        "1",
        "--",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 1; done",
    )
    assert "deaf is stopped" in host.gear("stop", "deaf").stdout
    assert host.run(["podman", "ps", "-aq"]).stdout == ""
    host.gear("start", "deaf")
    late = host.gear("stop", "--timeout", "0.2", "deaf", check=False)
    assert late.returncode == 8, late.stderr
    eventually(lambda: host.status("deaf")["ActiveState"] == "inactive")


def test_drop_ins_of_an_admin_are_kept(host: Shell) -> None:
    host.gear("install", TOOLS, "mine")
    host.sh("mkdir -p /etc/systemd/system/ctr-mine.service.d")
    host.run(["tee", "/etc/systemd/system/ctr-mine.service.d/a.conf"], stdin="[Unit]\nDescription=Mine\n")
    host.gear("install", TOOLS, "mine", "--memory", "64m", "--start")
    assert host.run(["systemctl", "show", "-P", "Description", "ctr-mine"]).stdout == "Mine\n"
    assert "Description=Mine" in host.gear("cat", "mine").stdout
    host.sh("rm -r /etc/systemd/system/ctr-mine.service.d")


def test_without_the_rules_no_gear_starts(host: Shell) -> None:
    host.gear("install", TOOLS, "apart")
    host.run(["rm", "/run/geard/host-ready"])
    refused = host.gear("start", "apart", check=False)
    assert refused.returncode == 1 and "not in force" in refused.stderr
    host.run(["systemctl", "restart", "geard-host"])
    host.gear("start", "apart")


def test_the_same_id_installed_by_two_at_once(host: Shell) -> None:
    host.sh(f"for n in 1 2 3 4 5 6; do gear install {APP} same -p 8080:0 --no-wait & done; wait")
    assert host.gear("list", "-a", "-q").stdout == "same\n"
    assert len(host.sh("find /var/lib/containers/ports/interfaces -type l").stdout.split()) == 1
    assert len(host.sh("find /var/lib/containers/slots -type l").stdout.split()) == 1
