"""What goes wrong on real hosts, and what an admin is told."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"


@BOTH
def test_a_program_that_is_not_there_fails_at_once(host: Shell) -> None:
    done = host.gear("install", TOOLS, "nocmd", "--start", "--", "/no/such/program", check=False)
    assert done.returncode == 1
    assert "no such program" in done.stderr
    status = host.status("nocmd")
    assert status["ActiveState"] == "failed" and status["ExitStatus"] == 127
    assert "/no/such/program" in host.gear("log", "nocmd").stdout


@BOTH
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


@BOTH
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
    assert len(host.containers) == 1


def _restarted_since(host: Shell, before: int) -> bool:
    return bool(host.status("tough")["Restarts"] > before)


@BOTH
def test_no_image_and_no_registry(host: Shell) -> None:
    """An outage does not end a gear for good: systemd goes on trying, and status says why."""
    done = host.gear("install", "geard/not-there", "orphan", "--start", check=False)
    assert done.returncode != 0
    assert "cannot pull docker.io/geard/not-there:latest" in done.stderr
    eventually(lambda: host.status("orphan")["SubState"] == "auto-restart")
    assert len([text for text in host.status("orphan")["Advice"] if "cannot pull" in text]) == 1, "told once"
    eventually(lambda: "orphan was not started: cannot pull" in host.gear("log", "orphan").stdout)
    host.run([host.engine, "tag", "docker.io/geard/test-tools", "docker.io/geard/not-there"])
    eventually(lambda: host.status("orphan")["ActiveState"] == "active", 30)
    name = "docker.io/geard/not-there"
    host.run(["podman", "untag", name, name] if host.engine == "podman" else ["docker", "rmi", name])


@BOTH
def test_a_kill_for_memory_is_told_with_the_remedy(host: Shell) -> None:
    eat = 'sleep 1; x=$(head -c 100m /dev/zero | tr "\\0" x); echo ${#x}'
    host.gear("install", TOOLS, "hog", "--start", "--memory", "20m", "--", "sh", "-c", eat)
    eventually(lambda: any("--memory" in text for text in host.status("hog")["Advice"]))


@BOTH
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
    assert host.containers == []
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


def test_twenty_installs_of_one_id_at_once(host: Shell) -> None:
    """By local commands and through the agent, of the same and of other words: one of them is what there is."""
    each = f"gear install {APP} %ssame -p 8080:0 --label by=%s --no-wait"
    local = [each % ("", n // 2) for n in range(10)]
    asked = [each % ("localhost/", n // 2) for n in range(10, 20)]
    host.sh(" & ".join([*local, *asked]) + " & wait")
    assert host.gear("list", "-a", "-q").stdout == "same\n"
    links = "find /var/lib/containers/ports/interfaces /var/lib/containers/slots -type l"
    assert len(host.sh(links).stdout.split()) == 2, "a port and a slot"
    assert host.sh("find /var/lib/containers/units -name claiming -o -name '*.tmp'").stdout == ""
    ids = host.sh("sed -n 's/^X-ContainerRequestId=//p' /var/lib/containers/units/sa/ctr-same.service").stdout
    assert f'"Version":"{ids.strip()}"' in host.run(["cat", "/var/lib/containers/units/sa/ctr-same.run"]).stdout
    host.gear("start", "same")
    assert "same" in host.page(host.port("same"))
    host.gear("delete", "--purge", "same")
    assert host.sh(links).stdout == ""


@contextmanager
def small_disk(host: Shell, place: str) -> Generator[str]:
    """A file system of its own for `place`, with nothing left on it; yields the file that takes the room."""
    host.sh(f"mkdir -p {place} && mount -t tmpfs -o size=64k,mode=700 tmpfs {place}")
    try:
        host.sh(f"cat /dev/zero >{place}/filler", check=False)
        yield f"{place}/filler"
    finally:
        host.sh(f"rm -f {place}/filler")
        for name in host.gear("list", "-a", "-q").stdout.split():
            host.gear("delete", "--purge", name, check=False)
        host.run(["umount", place])


def test_a_full_disk_for_units(host: Shell) -> None:
    with small_disk(host, "/var/lib/containers/units") as filler:
        for name in ("full", "localhost/full"):
            refused = host.gear("install", APP, name, "-p", "8080:0", check=False)
            assert refused.returncode == 1, refused
            assert "No space left on device" in refused.stderr and "make room" in refused.stderr
            assert "Traceback" not in refused.stderr and "bug" not in refused.stderr
        assert host.gear("list", "-a", "-q").stdout == ""
        assert host.sh("find /var/lib/containers/ports/interfaces /var/lib/containers/slots -type l").stdout == ""
        host.run(["rm", filler])
        host.gear("install", APP, "full", "--start", "-p", "8080:0")
        host.sh(f"cat /dev/zero >{filler}", check=False)
        again = host.gear("install", APP, "localhost/full", "--label", f"long={'x' * 6000}", check=False)
        assert again.returncode == 1 and "No space left on device" in again.stderr
        assert "full" in host.page(host.port("full")), "what ran goes on"
        assert host.status("full")["InstalledVersion"] == host.status("full")["RunningVersion"]
        host.gear("stop", "full")
        host.gear("start", "localhost/full")
        host.gear("delete", "--purge", "full")
        assert host.gear("list", "-a", "-q").stdout == ""


def test_a_full_disk_for_environments(host: Shell) -> None:
    with small_disk(host, "/var/lib/containers/env") as filler:
        host.run(["rm", filler])
        host.gear("set-env", "shared", "A=1")
        host.sh(f"cat /dev/zero >{filler}", check=False)
        for where in ("", "localhost/"):
            for words in (("set-env", f"{where}shared"), ("set-env", "--reset", f"{where}shared")):
                refused = host.gear(*words, f"B={'x' * 5000}", check=False)
                assert refused.returncode == 1 and "No space left on device" in refused.stderr, refused
            assert host.gear("env", f"{where}shared").stdout == "A=1\n"
        host.run(["rm", filler])
        host.gear("set-env", "shared", f"B={'x' * 5000}")
        assert host.gear("env", "shared").stdout == f"A=1\nB={'x' * 5000}\n"


@pytest.mark.parametrize("way", ["gone", "failing"])
def test_an_engine_that_is_down(host: Shell, way: str) -> None:
    host.gear("install", TOOLS, "before", "--start")
    host.run(["mv", "/usr/bin/podman", "/usr/bin/podman.away"])
    try:
        if way != "gone":
            host.run(["tee", "/usr/bin/podman"], stdin="#!/bin/sh\necho Error: storage is locked >&2\nexit 125\n")
            host.run(["chmod", "755", "/usr/bin/podman"])
        for where in ("", "localhost/"):
            done = host.gear("install", "geard/envtest", f"{where}after", "--start", check=False)
            told = "storage is locked" if way == "failing" else "/usr/bin/podman "
            assert done.returncode == 1 and told in done.stderr, done
            assert "Traceback" not in done.stderr and "bug" not in done.stderr
        assert host.status("before")["ActiveState"] == "active", "what runs needs no engine"
        assert host.gear("list", "-a", "-q").stdout == "after\nbefore\n"
    finally:
        host.sh("mv -f /usr/bin/podman.away /usr/bin/podman")
    host.gear("install", TOOLS, "after", "--start")
    assert host.status("after")["ActiveState"] == "active"


def test_a_bus_that_is_down(host: Shell) -> None:
    """The word is on record, and what could not be done is told; once it is back the same does it."""
    host.gear("install", TOOLS, "before", "--start")
    sockets = ("/run/dbus/system_bus_socket", "/run/systemd/private")
    host.run(["systemctl", "stop", "geard.service"])  # the next agent finds no bus either
    for socket in sockets:
        host.run(["mv", socket, f"{socket}.away"])
    try:
        for where in ("", "localhost/"):
            for words in (("install", TOOLS, f"{where}after", "--start"), ("start", f"{where}before"),
                          ("status", f"{where}before"), ("exec", f"{where}before", "true")):  # fmt: skip
                done = host.gear(*words, check=False)
                assert done.returncode in (1, 125), done
                assert "the system bus does not answer" in done.stderr, done
                assert "Traceback" not in done.stderr, done
            assert (
                "A=1" in host.gear("set-env", f"{where}shared", "A=1").stdout + host.gear("env", "shared").stdout
            )
    finally:
        for socket in sockets:
            host.run(["mv", f"{socket}.away", socket])
    host.gear("start", "after", "localhost/before")
    assert {host.status(name)["ActiveState"] for name in ("after", "before")} == {"active"}
    host.gear("delete-env", "shared")


def test_a_journal_that_is_down(host: Shell) -> None:
    """Gears start, stop and tell their state without it; only their lines are lost."""
    units = ("systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald.service")
    host.run(["systemctl", "stop", *units])
    try:
        host.gear("install", TOOLS, "mute", "--start")
        assert host.status("mute")["ActiveState"] == "active"
        assert host.gear("exec", "mute", "echo", "there").stdout == "there\n"
        host.gear("log", "mute")
        host.gear("stop", "localhost/mute")
    finally:
        host.run(["systemctl", "start", *units])
    host.gear("start", "mute")
