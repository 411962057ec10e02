"""What may go wrong on a real host while the agent runs: crowds at its doors, and a machine that fails under it.

Whatever it is, no answer is a bug, none is waited for without end, and afterwards the same agent serves again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import pytest
from tests.lab.conftest import Shell, eventually

pytestmark = pytest.mark.lab

APP = "geard/busybox-http-app"
TOOLS = "geard/test-tools"
PATIENCE = 40
"""seconds for any one answer"""

# Runs in the host: opens so many connections of every kind, asks for installs meanwhile, prints what came of it.
CROWD = """
import json, os, resource, socket, subprocess, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
agent = subprocess.check_output(["systemctl", "show", "-P", "MainPID", "geard.service"], text=True).strip()
def memory():
    with open(f"/proc/{agent}/status") as status:
        return [int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS")][0]
def line(unix):
    if not unix:
        return socket.create_connection(("127.0.0.1", 43273), 60)
    found = socket.socket(socket.AF_UNIX)
    found.connect("/run/geard/geard.sock")
    return found
def install(number):
    body = json.dumps({"Image": "geard/test-tools"}).encode()
    with line(False) as asked:
        head = b"PUT /container/crowd-%d" % number + HOST + b"Content-Length: %d\\r\\n\\r\\n" % len(body)
        asked.sendall(head + body)
        return int(asked.recv(65536).split()[1])
HOST = b" HTTP/1.1\\r\\nHost: localhost\\r\\n"
KINDS = (b"", b"GET /contai", b"PUT /container/x-y" + HOST + b"Content-Length: 90\\r\\n\\r\\n{",
    b"GET /version" + HOST + b"\\r\\n")
before, lines = memory(), []
for number in range(int(sys.argv[1])):
    lines.append(line(number % 2))
    lines[-1].sendall(KINDS[number % 4])
begun = time.monotonic()
answers = [install(number) for number in range(10)]
print(json.dumps({"before": before, "after": memory(), "answers": answers,
    "each": round((time.monotonic() - begun) / 10, 4)}))
"""

# Runs in the host, as another user: connects as often as it can, and goes on doing so.
STRANGERS = """
import os, resource, socket, time
os.setgid(65534); os.setuid(65534)
kept = []
end = time.monotonic() + 8
while time.monotonic() < end:
    try:
        kept.append(socket.create_connection(("127.0.0.1", 43273), 1))
        kept[-1].sendall(b"PUT /container/stolen HTTP/1.1\\r\\nHost: localhost\\r\\nX-")
    except OSError:
        pass
    if len(kept) > 900:
        kept.pop(0).close()
"""


def process(host: Shell) -> str:
    """Which process the agent is, of which start of its unit."""
    host.agent("GET", "/containers")
    return host.run(["systemctl", "show", "-P", "MainPID,InvocationID", "geard.service"]).stdout


@contextmanager
def same_agent(host: Shell) -> Generator[None]:
    before = process(host)
    since = host.run(["date", "+@%s"]).stdout.strip()
    yield
    eventually(lambda: ask(host, "GET", "/containers")[0] == 200, 30)
    assert process(host) == before
    journal = host.run(["journalctl", "-q", "-o", "cat", "-u", "geard", "--since", since]).stdout
    assert "Traceback" not in journal and "met a bug" not in journal


def ask(host: Shell, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Status and text; 0 where there was no answer within `PATIENCE`."""
    options = ("-m", str(PATIENCE), "-w", "\n%{http_code}")
    text, _, status = host.agent(method, path, body, *options, check=False).stdout.rpartition("\n")
    return int(status or 0), text


def refused(host: Shell, method: str, path: str, body: object = None) -> str:
    """What is told of something that cannot be done just now."""
    status, text = ask(host, method, path, body)
    assert status == 503, (status, text)
    told = json.loads(text)
    assert told["Kind"] == "Unavailable" and told["Message"]
    return str(told["Message"]) + " " + str(told.get("Hint", ""))


def answers(host: Shell, port: int) -> bool:
    return "Hello" in host.run(["curl", "-s", "-m", "2", f"http://127.0.0.1:{port}/"], check=False).stdout


def test_two_thousand_open_connections(host: Shell) -> None:
    with same_agent(host):
        said = json.loads(host.run(["python3", "-c", CROWD, "2000"], seconds=300).stdout)
    print(said)
    assert said["answers"] == [200] * 10
    assert said["after"] - said["before"] < 100


def test_more_connections_than_there_may_be(host: Shell) -> None:
    """Who comes too late is told so. Those who were there are served, and afterwards everybody is."""
    with same_agent(host):
        said = json.loads(host.run(["python3", "-c", CROWD, "6000"], seconds=300).stdout)
    print(said)
    assert set(said["answers"]) == {503}
    assert said["after"] - said["before"] < 200


def test_strangers_do_not_keep_root_out(host: Shell) -> None:
    with same_agent(host):
        host.sh(f"setsid python3 -c '{STRANGERS}' >/dev/null 2>&1 </dev/null &")
        time.sleep(1)
        for number in range(20):
            assert ask(host, "PUT", f"/container/mine-{number}", {"Image": TOOLS})[0] == 200
    assert "stolen" not in host.gear("list", "-a", "-q").stdout


@pytest.mark.parametrize("expect", ["", "100-continue"])
@pytest.mark.parametrize(
    ("target", "status"), [("container/web", 413), ("nothing", 404), ("container/" + "y" * 9000, 400)]
)
def test_curl_reads_why_its_large_body_is_refused(host: Shell, target: str, status: int, expect: str) -> None:
    host.sh("head -c 20000000 /dev/zero >/root/large")
    words = ["curl", "-sS", "-T", "/root/large", "-H", f"Expect: {expect}", "-w", "\n%{http_code}"]
    for where in (["--unix-socket", "/run/geard/geard.sock", "http://x/"], ["http://localhost:43273/"]):
        done = host.run([*words, *where[:-1], where[-1] + target])
        text, _, code = done.stdout.rpartition("\n")
        assert int(code) == status, done.stdout
        assert {"Kind", "Message", "RequestId"} <= json.loads(text).keys()


def test_an_end_that_vanishes_is_noticed(host: Shell) -> None:
    """A machine that lost its power says nothing more: TCP asks, half a minute after the last word."""
    hold = "exec 3<>/dev/tcp/127.0.0.1/43273; ss -Htno state established sport = :43273"
    said = host.run(["bash", "-c", hold]).stdout
    assert "timer:(keepalive," in said
    assert "min" not in said.partition("timer:(keepalive,")[2]


def test_a_disk_that_can_only_be_read(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:4000")
    base = (
        "/var/lib/containers/units /var/lib/containers/env /var/lib/containers/ports /var/lib/containers/targets"
    )
    with same_agent(host):
        host.sh(f"for d in {base}; do mount --bind $d $d && mount -o remount,bind,ro $d; done")
        try:
            for method, path, body in (
                ("PUT", "/container/late", {"Image": TOOLS}),
                ("PATCH", "/container/web", {"Labels": {"a": "b"}}),
                ("PUT", "/container/web/stopped", None),
                ("PUT", "/environment/late", {"Variables": [{"Name": "A", "Value": "1"}]}),
                ("DELETE", "/container/web", None),
            ):
                assert "Read-only file system" in refused(host, method, path, body), (method, path)
            assert ask(host, "GET", "/container/web/status")[0] == 200
            assert '"web"' in ask(host, "GET", "/containers")[1]
            assert ask(host, "GET", "/container/web/log?follow=false")[0] == 200
            assert answers(host, 4000)
        finally:
            host.sh(f"for d in {base}; do umount $d; done")
        assert ask(host, "PUT", "/container/late", {"Image": TOOLS})[0] == 200
        assert ask(host, "PUT", "/container/web/stopped?follow=true")[0] == 200
    assert host.status("web")["ActiveState"] == "inactive"


def test_a_full_disk(host: Shell) -> None:
    units = "/var/lib/containers/units"
    host.gear("install", APP, "web", "--start", "-p", "8080:4000")
    with same_agent(host):
        host.sh(
            f"cp -a {units} /root/units && mount -t tmpfs -o size=160k,mode=755 none {units}"
            f" && cp -a /root/units/. {units}; dd if=/dev/zero of={units}/filler bs=1k count=400 2>/dev/null; true"
        )
        try:
            assert "No space left on device" in refused(host, "PUT", "/container/late", {"Image": TOOLS})
            assert "No space left" in refused(host, "PATCH", "/container/web", {"Labels": {"a": "b"}})
            assert ask(host, "GET", "/containers")[0] == 200
            assert ask(host, "POST", "/container/web/restart?follow=true")[0] == 200
            host.sh(f"rm {units}/filler")
            assert ask(host, "PUT", "/container/late", {"Image": TOOLS})[0] == 200
            # followed: what is behind the answer must not meet a folder that is gone
            assert ask(host, "DELETE", "/container/late?purge=1&follow=true")[0] == 200
        finally:
            host.sh(f"umount -l {units}; rm -r /root/units")


def test_a_bus_that_is_stopped_or_hangs(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:4000")
    bus = host.sh("systemctl list-units -q --no-legend --plain 'dbus*.service' | head -1").stdout.split()[0]
    with same_agent(host):
        host.sh(f"systemctl kill -s STOP {bus}")
        try:
            begun = time.monotonic()
            for method, path in (("GET", "/containers"), ("PUT", "/container/web/started"), ("GET", "/version")):
                status, text = ask(host, method, path)
                assert status in (200, 503, 504), (method, path, status, text)
            assert answers(host, 4000)
            print(f"hung bus: {time.monotonic() - begun:.1f} s for three")
        finally:
            host.sh(f"systemctl kill -s CONT {bus}")
        eventually(lambda: ask(host, "GET", "/containers")[0] == 200)
        host.sh(f"systemctl kill -s KILL {bus}; sleep 0.5; systemctl start dbus.socket {bus}")
        eventually(lambda: ask(host, "PUT", "/container/web/stopped?follow=true")[0] == 200)
        assert ask(host, "PUT", "/container/web/started?follow=true")[0] == 200
        eventually(partial(answers, host, 4000))


BROKEN = {"gone": "", "fails": "echo broken >&2; exit 125", "hangs": "echo $$ >>/run/hung; exec sleep 600"}


@pytest.mark.parametrize("how", BROKEN)
def test_a_podman_that_is_broken(host: Shell, how: str) -> None:
    """Gears go on. What needs it says so, in its report at the latest, and works when it does."""
    host.gear("install", APP, "web", "--start", "-p", "8080:4000")
    late = {"Image": "geard/envtest", "Command": ["sleep", "1000"], "StopTimeout": 0, "Started": True}
    with same_agent(host):
        host.sh("mv /usr/bin/podman /usr/bin/podman.whole; rm -f /run/hung")
        if BROKEN[how]:
            host.run(["tee", "/usr/bin/podman"], stdin=f"#!/bin/sh\n{BROKEN[how]}\n")
            host.sh("chmod +x /usr/bin/podman")
        try:
            assert ask(host, "GET", "/container/web/status")[0] == 200
            assert ask(host, "GET", "/containers")[0] == 200
            status, text = ask(host, "PUT", "/container/late", late)
            assert status in (200, 503), text
            assert answers(host, 4000)
        finally:
            host.sh("mv /usr/bin/podman.whole /usr/bin/podman; [ ! -e /run/hung ] || kill $(cat /run/hung); true")
        assert ask(host, "PUT", "/container/late", late)[0] == 200
        eventually(lambda: host.status("late")["ActiveState"] == "active", 180)


def test_a_journal_that_is_stopped(host: Shell) -> None:
    host.gear("install", APP, "web", "--start", "-p", "8080:4000")
    with same_agent(host):
        host.sh("systemctl kill -s STOP systemd-journald")
        try:
            for number in range(5):
                assert ask(host, "PUT", f"/container/late-{number}", {"Image": TOOLS})[0] == 200
            assert ask(host, "GET", "/containers")[0] == 200
        finally:
            host.sh("systemctl kill -s CONT systemd-journald")
