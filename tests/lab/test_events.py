"""Events and followers on a real host: systemd's journal, crashes, an agent that is killed, a thousand readers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.lab.conftest import APP, BOTH, Shell, eventually

FOLLOWED = "/tmp/events-of-the-test"


def events(host: Shell, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.gear("events", "-o", "json", *words).stdout.splitlines()]


def kinds(host: Shell, *words: str) -> list[str]:
    return [event["Kind"] for event in events(host, *words) if event["Id"]]


def now(host: Shell) -> str:
    return f"@{host.run(['date', '+%s.%N']).stdout.strip()[:-3]}"


def until_told(host: Shell, since: str, kind: str, name: str = "web") -> dict[str, Any]:
    eventually(lambda: kind in kinds(host, name, "--since", since), 40)
    return next(event for event in events(host, name, "--since", since) if event["Kind"] == kind)


@contextmanager
def following(host: Shell, *words: str) -> Generator[Callable[[], list[str]]]:
    """`gear …` in the background of the host; what it has printed on stdout so far."""

    def told() -> list[str]:
        return host.run(["cat", FOLLOWED], check=False).stdout.splitlines()

    host.run(["rm", "-f", FOLLOWED])
    host.run(["systemd-run", "--unit=test-follow", "--collect", "--property=StandardOutput=truncate:" + FOLLOWED,
              "--property=StandardError=truncate:" + FOLLOWED + ".err", "gear", *words])  # fmt: skip
    try:
        yield told
    finally:
        host.run(["systemctl", "stop", "test-follow"], check=False)


def _as_many(told: Callable[[], list[str]], lines: int) -> bool:
    return len(told()) >= lines


@BOTH
def test_what_happens_to_a_gear_is_told_whoever_did_it(host: Shell) -> None:
    since = now(host)
    host.gear("install", APP, "web", "--start")
    host.gear("stop", "localhost/web")
    host.run(["systemctl", "start", "ctr-web"])
    host.run(["systemctl", "stop", "ctr-web"])
    host.gear("delete", "web")
    told = [event for event in events(host, "web", "--since", since) if event["Kind"] != "ports"]
    assert [event["Kind"] for event in told] == [
        "installed", "starting", "started", "stopping", "stopped",
        "starting", "started", "stopping", "stopped", "deleted",
    ]  # fmt: skip
    installed, starting, started, stopping, stopped, *by_hand, deleted = told
    assert installed["Request"] == installed["Version"] == starting["Request"] == started["Request"] != ""
    assert stopping["Request"] == stopped["Request"] not in ("", started["Request"])
    assert {event["Request"] for event in by_hand} == {""}
    assert deleted["By"]
    assert {event["Host"] for event in told} == {"h1"}


@BOTH
def test_why_a_gear_failed_is_told_also_while_no_agent_runs(host: Shell) -> None:
    host.run(["systemctl", "stop", "geard.service", "geard.socket", "geard-loopback.socket"])
    try:
        since = now(host)
        host.gear("install", "--restart", "no", APP, "web", "--start", "--", "sh", "-c", "sleep 1; exit 3")
        failed = until_told(host, since, "failed")
        since = now(host)
        fill = "sleep 1; x=$(dd if=/dev/zero bs=1M count=90 | tr '\\0' a); sleep 9"
        host.gear("install", "--memory", "32m", APP, "big", "--start", "--", "sh", "-c", fill)
        killed = until_told(host, since, "failed", "big")
        recorded = host.run(["cat", "/run/geard/gears/ctr-big/ended"]).stdout
        again = until_told(host, since, "restarting", "big")
        host.gear("stop", "big")
    finally:
        host.run(["systemctl", "start", "geard.socket", "geard-loopback.socket"])
    assert (failed["ExitStatus"], failed["Oom"]) == (3, False)
    # not every engine tells (podman 4.3 with control groups v1 does not)
    assert (killed["Oom"], killed["Signal"]) == ("oom=yes" in recorded, "KILL")
    assert ("memory" in killed["Message"]) is killed["Oom"]
    assert again["Restarts"] == 1
    found = json.loads(host.agent("GET", f"/events?follow=false&gear=web&since={since}", None, "-H",
                                  "Accept: application/x-ndjson").stdout.splitlines()[-1])  # fmt: skip
    assert found == {"Done": True}


def test_whether_a_gears_check_holds_is_told_when_it_changes(host: Shell) -> None:
    check = "HEALTHCHECK --interval=1s --retries=2 CMD test -e /tmp/well"
    host.sh(
        f"printf 'FROM docker.io/{APP}\n{check}\n' | podman build -q --format docker -t docker.io/test/checked -"
    )
    try:
        since = now(host)
        host.gear("install", "test/checked", "web", "-p", "none", "--start")
        assert "2 times" in until_told(host, since, "unhealthy")["Reason"]
        host.inside("web", "touch", "/tmp/well")
        until_told(host, since, "healthy")
        host.inside("web", "rm", "/tmp/well")
        eventually(lambda: kinds(host, "web", "--since", since).count("unhealthy") == 2)
        told = [kind for kind in kinds(host, "web", "--since", since) if kind.endswith("healthy")]
        assert told == ["unhealthy", "healthy", "unhealthy"]
        host.gear("delete", "web")
    finally:
        host.run(["podman", "rmi", "-f", "docker.io/test/checked"])


def test_a_pull_is_told_with_its_image_and_request(host: Shell) -> None:
    since = now(host)
    host.gear("install", "h1:5000/nothing/there", "web", check=False)
    eventually(lambda: "pull-failed" in [event["Kind"] for event in events(host, "--since", since)])
    pulls = [event for event in events(host, "--since", since) if event["Kind"].startswith("pull")]
    assert [event["Kind"] for event in pulls] == ["pulling", "pull-failed"]
    assert {event["Image"] for event in pulls} == {"h1:5000/nothing/there:latest"}
    assert {event["Request"] for event in pulls} == {events(host, "web", "--since", since)[0]["Request"]}
    assert pulls[1]["Reason"]


def test_followers_miss_nothing_and_see_nothing_twice_when_the_agent_is_killed(host: Shell) -> None:
    host.gear(
        "install", APP, "web", "--start", "--", "sh", "-c", "i=0; while sleep 0.01; do echo $((i=i+1)); done"
    )
    with following(host, "log", "-f", "-n", "1", "-o", "cat", "localhost/web") as told:
        eventually(lambda: len(told()) > 20)
        for signal in ("KILL", "TERM", "KILL"):
            host.run(["systemctl", "kill", "-s", signal, "geard"])
            enough = len(told()) + 20
            eventually(partial(_as_many, told, enough), 40)
        numbers = [int(line) for line in told() if line.isdigit()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert "again" in host.run(["cat", f"{FOLLOWED}.err"]).stdout


def test_events_are_followed_over_a_kill_of_the_agent(host: Shell) -> None:
    host.gear("install", APP, "web")
    since = now(host)
    with following(host, "events", "-f", "-o", "json", "localhost/web") as told:
        time.sleep(1)
        for round in range(3):
            host.run(["systemctl", "kill", "-s", "KILL", "geard"])
            host.gear("start", "web")
            host.gear("stop", "web")
            eventually(partial(_as_many, told, 4 * (round + 1)), 40)
        lines = [json.loads(line) for line in told()]
    assert [line["Kind"] for line in lines] == ["starting", "started", "stopping", "stopped"] * 3
    cursors = [line["Cursor"] for line in lines]
    assert cursors == [event["Cursor"] for event in events(host, "web", "--since", since)]


def test_events_of_a_journal_that_was_rotated_and_of_one_that_was_thrown_away(host: Shell) -> None:
    host.gear("install", APP, "web", "--start")
    first = events(host, "web")[0]["Cursor"]
    host.run(["journalctl", "--rotate"])
    host.gear("stop", "web")
    followed = kinds(host, "web", "--after-cursor", first)
    assert followed[-3:] == ["started", "stopping", "stopped"]
    host.run(["journalctl", "--rotate"])
    host.run(["journalctl", "--vacuum-size=1"])
    host.gear("delete", "web")
    missed, *others = events(host, "--after-cursor", first)
    assert missed["Kind"] == "missed"
    assert [event["Kind"] for event in others] == ["deleted"]


THOUSAND = r"""
import json, os, resource, selectors, socket, subprocess, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
count, target = int(sys.argv[1]), sys.argv[2]
agent = int(subprocess.check_output(["systemctl", "show", "-P", "MainPID", "geard"]))

def figures():
    stat = open(f"/proc/{agent}/stat").read().rpartition(")")[2].split()
    status = open(f"/proc/{agent}/status").read()
    return {"cpu": (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"),
            "threads": int(status.partition("Threads:")[2].split()[0]),
            "memory": int(status.partition("VmRSS:")[2].split()[0])}

def ask(line, request):
    line.connect("/run/geard/geard.sock")
    line.sendall(request.encode())

before, ready, lines = figures(), selectors.DefaultSelector(), []
for number in range(count):
    line = socket.socket(socket.AF_UNIX)
    ask(line, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n")
    line.setblocking(False)
    lines.append([line, 0])
    ready.register(line, selectors.EVENT_READ, lines[-1])

def pump(done, seconds=90):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, sorted(got for _, got in lines)[:5]
        for key, _ in ready.select(0.05):
            key.data[1] += key.fileobj.recv(1 << 18).count(b'{"Item"')

pump(lambda: all(got for _, got in lines))
joined, answers = figures(), []
for number in range(20):
    body = json.dumps({"Image": "geard/busybox-http-app", "Ports": []})
    with socket.socket(socket.AF_UNIX) as other:
        begun = time.monotonic()
        ask(other, f"PUT /container/crowd-{number} HTTP/1.1\r\nHost: localhost\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n{body}")
        assert other.recv(100).startswith(b"HTTP/1.1 200"), number
        answers.append(time.monotonic() - begun)
    pump(lambda: True)
pump(lambda: all(got > 20 for _, got in lines))
print(json.dumps({"before": before, "joined": joined, "after": figures(), "answers": sorted(answers),
                  "items": sum(got for _, got in lines)}))
"""


def test_a_thousand_followers_hold_up_no_install(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "--", "sh", "-c", "while sleep 0.2; do echo line; done")
    host.agent("GET", "/version")
    figures = json.loads(
        host.run(["python3", "-c", THOUSAND, "1000", "/container/web/log?follow=true&lines=1"], seconds=200).stdout
    )
    print(figures)
    assert figures["after"]["threads"] < 32
    assert figures["after"]["memory"] - figures["before"]["memory"] < 80_000
    assert len(figures["answers"]) == 20
    assert json.loads(host.gear("list", "-a", "-o", "json").stdout)
