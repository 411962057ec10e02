"""What breaks on real hosts, broken on purpose: what is left of it, and who sets it right.

docs/RELIABILITY.md tells the whole of it; `scripts/faults` has all points of what is sampled here.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.lab.conftest import Shell, eventually

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"
FAULTS = Path(__file__).parents[2] / "faults"

# SCENE:WAY:FAULT:STRIDE:FIRST, see faults/inside/scenes.py
SAMPLE = (
    "install:agent:kill:5:1",
    "install-full:command:kill:7:2",
    "re-install:agent:kill:7:3",
    "update:command:kill:9:2",
    "rollback:agent:kill:6:1",
    "delete-purge:agent:kill:7:2",
    "port:agent:kill:6:2",
    "port-running:command:kill:9:4",
    "limit-running:agent:kill:3:1",
    "set-env:agent:kill:3:1",
    "link:agent:kill:1:1",
    "unlink:command:ENOSPC:1:1",
    "link-running:agent:kill:1:1",
    "install-full:agent:ENOSPC:8:3",
    "re-install:command:EIO:9:4",
    "install-start:agent:kill:13:4",
    "stop:agent:kill:3:1",
    "delete-running:command:kill:8:3",
)


def bring(host: Shell) -> None:
    """What sweeps a host, in the host."""
    target = host.lab.host(host.name).root / "root/geard-faults"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(FAULTS, target / "faults", ignore=shutil.ignore_patterns("__pycache__"))


def wrong_on_disk(host: Shell) -> list[str]:
    """What is broken or left over, as the sweep sees it."""
    script = "import json; from faults.inside import disk; print(json.dumps(disk.problems(at_rest=True)))"
    done = host.run(["env", "PYTHONPATH=/root/geard-faults", "/usr/bin/python3", "-c", script])
    found: list[str] = json.loads(done.stdout)
    return found


def swept(host: Shell, job: str) -> list[dict[str, Any]]:
    """What came of each point."""
    bring(host)
    words = [
        "/opt/geard/bin/python3",
        "-I",
        "/root/geard-faults/faults/inside/start.py",
        "/root/geard-faults",
        job,
    ]
    done = host.run(words, seconds=600)
    points = [json.loads(line) for line in done.stdout.splitlines() if '"point"' in line]
    assert len(points) >= 2, done.stdout
    return points


@pytest.mark.parametrize("job", SAMPLE)
def test_cut_short_at_any_call_it_is_not_there_or_whole(host: Shell, job: str) -> None:
    points = swept(host, job)
    assert [(each["point"], each["at"], each["wrong"]) for each in points if each["wrong"]] == []


def serve(host: Shell, name: str = "web", *words: str) -> int:
    host.gear("install", APP, name, "--start", "--stop-timeout", "2", "-p", "8080:0", *words)
    return host.port(name)


def answers(host: Shell, port: int) -> bool:
    done = host.run(["curl", "-s", "-m", "2", f"http://127.0.0.1:{port}/"], check=False)
    return "Hello" in done.stdout


def active(host: Shell, name: str = "web") -> bool:
    return bool(host.status(name)["ActiveState"] == "active")


def containers(host: Shell) -> list[str]:
    return sorted(host.run(["podman", "ps", "-a", "--format", "{{.Names}}"]).stdout.split())


# Ends the first process whose command line matches, as soon as there is one, and says whether there was.
KILL_FIRST = r"""
import glob, os, re, sys, time
victim, end = re.compile(sys.argv[1]), time.monotonic() + 5
open("/run/hunting", "w").close()
while time.monotonic() < end:
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            if victim.match(open(path).read().replace("\0", " ")):
                os.kill(int(path.split("/")[2]), 9)
                print("killed")
                sys.exit()
        except (OSError, UnicodeDecodeError):
            pass
"""


def kill_amid(host: Shell, verb: str, victim: str) -> bool:
    """Ask for it, and kill what it is done by; False where that had ended before it was found."""
    host.run(["tee", "/root/hunt.py"], stdin=KILL_FIRST)
    script = f"""
        rm -f /run/hunting
        python3 /root/hunt.py '{victim}' >/root/hunted & hunter=$!
        until [ -e /run/hunting ]; do sleep 0.01; done
        gear {verb} --no-wait web
        wait $hunter; cat /root/hunted
    """
    return "killed" in host.sh(script).stdout


@pytest.mark.parametrize(
    ("verb", "victim"),
    [
        ("start", "/usr/bin/podman .*run .*ctr-web"),
        ("start", "(/bin/sh|/usr/bin/python3 -IS) /usr/lib/geard/gear-prepare.* ctr-web"),
        ("stop", "/usr/bin/python3 -IS /usr/lib/geard/gear-stop ctr-web"),
        ("stop", "/usr/bin/python3 -IS /usr/lib/geard/gear-record ctr-web"),
        ("stop", "/usr/bin/podman .*rm .*ctr-web"),
    ],
)
def test_a_helper_that_is_killed_is_gone_over(host: Shell, verb: str, victim: str) -> None:
    port = serve(host, "web", "A=1")  # a variable: then gear-prepare is there for long enough to be seen
    for _ in range(10):
        if verb == "start":
            host.gear("stop", "web")
        if kill_amid(host, verb, victim):
            break
        host.gear("start", "web")
    else:
        raise AssertionError(f"nobody has seen {victim}")
    if verb == "start":
        eventually(partial(active, host), 30)
        eventually(partial(answers, host, port))
        assert containers(host) == ["ctr-web"]
        return
    eventually(lambda: host.status("web")["ActiveState"] in ("inactive", "failed"), 30)
    assert not answers(host, port)
    host.gear("start", "web")
    eventually(partial(answers, host, port))
    assert containers(host) == ["ctr-web"]


def test_an_agent_that_is_killed_loses_nothing_it_has_accepted(host: Shell) -> None:
    bring(host)
    body = json.dumps({"Image": TOOLS, "Ports": [{"Internal": 80, "External": 0}]})
    ask = (
        f"curl -s -o /dev/null -w '%{{http_code}}\\n' -X PUT http://localhost:43273/container/many-$n -d '{body}'"
    )
    done = host.sh(
        f"for n in $(seq 10 39); do (echo many-$n $({ask})) & done; sleep 0.15; systemctl kill -s KILL geard; wait"
    )
    accepted = {line.split()[0] for line in done.stdout.splitlines() if line.endswith((" 200", " 202"))}
    eventually(lambda: host.run(["curl", "-sf", "http://localhost:43273/version"], check=False).returncode == 0)
    eventually(lambda: wrong_on_disk(host) == [], 60)
    assert accepted <= set(host.gear("list", "-a", "-q").stdout.split())


def test_a_geard_that_is_upgraded_while_asked_loses_nothing_it_has_accepted(host: Shell) -> None:
    port = serve(host)
    pid = host.status("web")["Pid"]
    body = json.dumps({"Image": TOOLS})
    ask = f"curl -s --retry 9 --retry-all-errors -o /dev/null -w '%{{http_code}}\\n' -X PUT -d '{body}'"
    done = host.sh(
        f"(for n in $(seq 10 40); do echo new-$n $({ask} http://localhost:43273/container/new-$n); done) &"
        " dpkg --install /root/geard.deb >&2; wait"
    )
    accepted = {line.split()[0] for line in done.stdout.splitlines() if line.endswith((" 200", " 202"))}
    assert len(accepted) == 31, done.stdout
    assert accepted <= set(host.gear("list", "-a", "-q").stdout.split())
    assert host.status("web")["Pid"] == pid
    assert answers(host, port)


@pytest.mark.parametrize("word", ["daemon-reload", "daemon-reexec"])
def test_installs_amid_a_storm_of_reloads(host: Shell, word: str) -> None:
    names = [f"storm-{number}" for number in range(5)]
    installs = " & ".join(f"gear install {TOOLS} {name} --start" for name in names)
    host.sh(f"(for n in 1 2 3 4 5 6 7 8; do systemctl {word}; done) & {installs} & wait")
    for name in names:
        eventually(partial(active, host, name), 30)
    assert containers(host) == [f"ctr-{name}" for name in names]


def test_a_bus_that_is_killed_comes_back_for_the_agent_too(host: Shell) -> None:
    port = serve(host)
    host.agent("GET", "/container/web/status")
    host.sh("systemctl kill -s KILL dbus dbus-broker 2>/dev/null; sleep 1; systemctl start dbus.socket dbus")
    assert answers(host, port)
    host.gear("stop", "web")
    eventually(lambda: '"web"' in host.agent("PUT", "/container/web/started?follow=true").stdout or active(host))
    eventually(partial(answers, host, port))


def test_a_journal_that_is_killed_costs_no_gear(host: Shell) -> None:
    host.gear(
        "install",
        TOOLS,
        "talk",
        "--start",
        "--",
        "sh",
        "-c",
        "n=0; while :; do echo line $((n+=1)); sleep 1; done",
    )
    eventually(lambda: "line 1" in host.gear("log", "talk", "--lines", "all").stdout)
    before = host.status("talk")["Restarts"]
    host.sh("systemctl kill -s KILL systemd-journald")
    now = len(host.gear("log", "talk", "--lines", "all").stdout.splitlines())
    eventually(lambda: len(host.gear("log", "talk", "--lines", "all").stdout.splitlines()) > now + 1)
    assert host.status("talk")["Restarts"] == before


def test_a_gear_that_forks_without_end_harms_no_other(host: Shell) -> None:
    port = serve(host)
    # What it has made stays when it is refused more: a shell that cannot fork ends.
    bomb = "(while :; do sleep 1000 & done) & (while :; do sleep 1000 & done) & exec sleep 1000"
    host.gear("install", TOOLS, "bomb", "--start", "--pids", "60", "--", "sh", "-c", bomb, check=False)
    first = int(re.findall(r"host ids from (\d+)", host.gear("status", "bomb").stdout)[0])

    def processes() -> int:
        """Its own, by their user outside."""
        return host.run(["ps", "-eo", "uid="]).stdout.split().count(str(first))

    eventually(lambda: "can't fork" in host.gear("log", "bomb").stdout)
    assert 50 <= processes() <= 60
    assert answers(host, port)
    assert host.gear("exec", "web", "--", "echo", "here").stdout == "here\n"
    host.gear("delete", "bomb")
    assert containers(host) == ["ctr-web"]


def test_a_full_disk_is_told_and_takes_nothing(host: Shell) -> None:
    port = serve(host)
    units = "/var/lib/containers/units"
    host.sh(
        f"cp -a {units} /root/units && mount -t tmpfs -o size=160k,mode=755 none {units}"
        f" && cp -a /root/units/. {units}; dd if=/dev/zero of={units}/filler bs=1k count=400 2>/dev/null; true"
    )
    try:
        refused = host.gear("install", TOOLS, "late", "-p", "80:0", check=False)
        assert refused.returncode == 1
        assert "No space left on device" in refused.stderr and "df -h" in refused.stderr
        assert host.gear("list", "-a", "-q").stdout == "web\n"
        assert answers(host, port)
        host.gear("restart", "web")
        eventually(partial(answers, host, port))
        host.sh(f"rm {units}/filler")
        host.gear("install", TOOLS, "late", "-p", "80:0")
        host.gear("delete", "--purge", "late")
    finally:
        host.sh(f"umount -l {units}; rm -r /root/units")


def test_engine_and_monitor_are_replaced_under_a_gear_that_runs(host: Shell) -> None:
    """What a package's upgrade does to files: a new one takes the name of one that runs."""
    port = serve(host)
    host.sh(
        "for f in podman conmon crun; do cp -a /usr/bin/$f /usr/bin/$f.new && mv /usr/bin/$f.new /usr/bin/$f; done"
    )
    assert answers(host, port)
    host.gear("restart", "web")
    eventually(partial(answers, host, port))
    host.gear("stop", "web")
    assert containers(host) == []


def test_a_storage_that_is_migrated_brings_the_gear_back(host: Shell) -> None:
    """`podman system migrate` stops all containers; systemd sees an end and starts them anew."""
    port = serve(host)
    host.run(["podman", "system", "migrate"])
    eventually(partial(answers, host, port), 30)
    assert containers(host) == ["ctr-web"]


def test_a_pull_that_is_killed_is_made_again(host: Shell) -> None:
    host.run(["systemctl", "start", "docker-registry"])
    image = "h1:5000/geard/late-image"
    host.run(["podman", "push", "-q", "--tls-verify=false", "docker.io/geard/test-tools", image])
    host.run(["systemctl", "kill", "-s", "STOP", "docker-registry"])  # so the pull takes as long as we like
    try:
        host.gear("install", image, "late", "--start", "--no-wait")
        eventually(
            lambda: "geard-pull@" in host.sh("systemctl list-units 'geard-pull@*' --all --no-legend").stdout
        )
        host.sh("systemctl kill -s KILL 'geard-pull@*'")
    finally:
        host.run(["systemctl", "kill", "-s", "CONT", "docker-registry"])
    eventually(partial(active, host, "late"), 60)
    host.run(["systemctl", "stop", "docker-registry"])


POWER_CUTS = {
    "install": f"for n in $(seq 10 60); do gear install {TOOLS} cut-$n -p 80:0; done",
    "install-start": f"for n in $(seq 10 60); do gear install {TOOLS} cut-$n --start --no-wait -p 80:0; done",
    "change": f"while :; do gear install {TOOLS} web -p 80:0 A=1 --start; gear update web B=2 -p 80:4999; done",
    "start-stop": f"gear install {TOOLS} web --stop-timeout 1; while :; do gear start web; gear stop web; done",
    "delete": f"while :; do gear install {TOOLS} web -v /data -p 80:0 --start; gear delete --purge web; done",
    "set-env": f"gear install {TOOLS} web; while :; do gear set-env web A=1; gear set-env web --remove A; done",
}


@pytest.mark.parametrize("verb", POWER_CUTS)
def test_a_power_cut_in_the_middle(host: Shell, verb: str) -> None:
    bring(host)
    host.sh(f"setsid sh -c '{POWER_CUTS[verb]}' >/root/cut.log 2>&1 </dev/null &")
    time.sleep(3.3)
    host.lab_does("kill", host.name)
    host.lab_does("up", "1")
    eventually(lambda: host.run(["curl", "-sf", "http://localhost:43273/version"], check=False).returncode == 0)
    eventually(lambda: wrong_on_disk(host) == [], 60)
    wanted = set(host.sh("ls /etc/systemd/system/container-active.target.wants").stdout.split())
    for unit in sorted(wanted):
        eventually(partial(_runs, host, unit), 60)


def _runs(host: Shell, unit: str) -> bool:
    return host.sh(f"systemctl is-active {unit}", check=False).stdout == "active\n"
