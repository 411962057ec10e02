"""Secrets on real hosts: they arrive, byte for byte, and stand nowhere else."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from tests.lab.conftest import BOTH, Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
IN_STATE = "/run/geard/gears/ctr-{}/secrets"

# Everything that any process is given on its command line, as often as it can be looked at.
WATCHER = """
import glob, os
seen = set()
with open("/root/cmdlines", "wb", buffering=0) as out:
    open("/root/watching", "w").close()
    while not os.path.exists("/root/watched"):
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                words = open(path, "rb").read()
            except OSError:
                continue
            if words not in seen:
                seen.add(words)
                out.write(words + b"\\n")
"""


def create(host: Shell, name: str, value: str | bytes, *options: str) -> str:
    return host.run(["gear", "secret", "create", name, *options], stdin=value).stdout


@pytest.fixture(autouse=True)
def no_secrets(host: Shell) -> Generator[None]:
    """A host without gears has no secrets left, either."""
    yield
    names = host.gear("list", "-a", "-q").stdout.split()
    if names:
        host.gear("delete", "--purge", *names)
    secrets = host.gear("secret", "list", "-o", "name").stdout.split()
    if secrets:
        host.gear("secret", "remove", *secrets)


@contextmanager
def watched(host: Shell) -> Generator[None]:
    """Meanwhile all command lines go into /root/cmdlines."""
    host.sh("rm -f /root/watch*; cat > /root/watch.py <<'END'\n" + WATCHER + "END\n")
    host.sh("setsid python3 /root/watch.py </dev/null >/dev/null 2>&1 & ")
    eventually(lambda: host.sh("test -e /root/watching", check=False).returncode == 0)
    try:
        yield
    finally:
        host.sh("touch /root/watched; sleep 0.3")


def found_in(host: Shell, *places: str) -> list[str]:
    """Which files have one of the needles of /root/needles in them."""
    words = ["grep", "-rlaF", "-D", "skip", "-f", "/root/needles", *places]
    return sorted(host.run(words, check=False).stdout.split())


def hide(host: Shell) -> str:
    """A value that nobody has said before; what to look for is in /root/needles."""
    value = f"swordfish-{os.urandom(12).hex()}"
    needles = f"{value}\n{base64.b64encode(value.encode()).decode().rstrip('=')[:-1]}\n"
    host.run(["sh", "-c", "cat > /root/needles"], stdin=needles)
    return value


def inside(host: Shell, name: str, script: str, *options: str) -> str:
    return host.run([host.engine, "exec", *options, f"ctr-{name}", "sh", "-c", script]).stdout


@BOTH
def test_a_value_is_nowhere_but_in_its_file_and_in_memory(host: Shell) -> None:
    value = hide(host)
    body = json.dumps({"Value": base64.b64encode(value.encode()).decode()})
    told: list[str] = []
    with watched(host):
        told.append(create(host, "token", value))
        curl = ["curl", "-sSi", "-X", "PUT", "--data-binary", "@-"]
        told.append(host.run([*curl, "http://localhost:43273/secret/token2"], stdin=body).stdout)
        told.append(host.run([*curl, "http://localhost:43273/secret/token2"], stdin=body[:-1] + "x").stdout)
        uses = [{"Name": "token"}, {"Name": "token2", "Path": "/etc/token"}]
        install = {"Image": TOOLS, "Started": True, "Secrets": uses}
        told.append(host.agent("PUT", "/container/keeper?follow=true", install).stdout)
        host.gear("restart", "keeper")
    assert inside(host, "keeper", "cat /run/secrets/token /etc/token") == value * 2
    assert host.sh("wc -c < /root/cmdlines").stdout.strip() > "1000"

    paths = ("/secrets", "/secret/token", "/container/keeper/status", "/container/keeper/definition", "/")
    told += [host.agent("GET", path, None, "-i").stdout for path in paths]
    verbs = (["status", "keeper"], ["status", "-o", "json", "keeper"], ["cat", "keeper"], ["secret", "list"])
    told += [host.gear(*words).stdout for words in verbs]
    told.append(host.run([host.engine, "inspect", "ctr-keeper"]).stdout)
    assert "/run/secrets/token" in told[-1]
    host.run(["sh", "-c", "cat > /root/told"], stdin="\n".join(told))
    host.sh("journalctl --sync; journalctl -o export > /root/journal")
    assert found_in(host, "/root/cmdlines", "/root/told", "/root/journal") == []
    state = IN_STATE.format("keeper")
    everywhere = ("/var", "/run", "/etc", "/tmp", "/opt", "/usr/lib/geard", "/home", "/srv")
    stored = ["/var/lib/containers/secrets/token", "/var/lib/containers/secrets/token2"]
    assert found_in(host, *everywhere) == [f"{state}/0-token", f"{state}/1-token2", *stored]
    assert host.sh("stat -f -c %T /run/geard").stdout.strip() == "tmpfs"
    assert host.sh("grep -ralF -f /root/needles /proc/[0-9]*/environ || true").stdout == ""
    peeking = f"cat {state}/0-token {state}/1-token2 {' '.join(stored)}"
    assert host.run(["su", "-s", "/bin/sh", "nobody", "-c", peeking], check=False).stdout == ""

    host.gear("stop", "keeper")
    assert found_in(host, *everywhere) == stored
    host.gear("delete", "keeper")
    host.gear("secret", "remove", "token", "token2")
    assert found_in(host, *everywhere) == []


@BOTH
def test_a_variable_is_told_to_nobody_but_the_gear_and_root(host: Shell) -> None:
    """It stands with the engine while the gear runs (docs/SECURITY.md says so), and with nobody else."""
    value = hide(host)
    create(host, "token", value)
    create(host, "pem", f"{value}\nsecond line\n")
    with watched(host):
        host.gear("install", TOOLS, "keeper", "--start", "--secret", "token:env=TOKEN", "--secret", "pem:env=PEM")
        host.gear("restart", "keeper")
    assert inside(host, "keeper", 'printf %s "$TOKEN|$PEM"') == f"{value}|{value}\nsecond line\n"
    told = host.gear("status", "keeper").stdout + host.gear("cat", "keeper").stdout
    host.run(["sh", "-c", "cat > /root/told"], stdin=told)
    host.sh("journalctl --sync; journalctl -o export > /root/journal")
    assert found_in(host, "/root/cmdlines", "/root/told", "/root/journal", "/etc") == []
    stored = ["/var/lib/containers/secrets/pem", "/var/lib/containers/secrets/token"]
    engine = (
        *("/run/geard/gears/ctr-keeper/", "/run/crun/", "/var/lib/containers/storage/"),
        *("/var/lib/docker/containers/", "/run/containerd/", "/run/docker/", "/var/lib/containerd/"),
    )
    found = found_in(host, "/var", "/run", "/tmp")
    assert [path for path in found if not path.startswith(engine)] == stored
    host.gear("stop", "keeper")
    assert found_in(host, "/run") == []


@BOTH
def test_values_arrive_byte_for_byte(host: Shell) -> None:
    every = bytes(range(256)) * 256
    create(host, "every", every)
    values = ["x", " a ", "a=b", "q\"u'o`t\\e$x%n", "two\nlines\n", "a\r", "ünï→😀", "#", "--env"]
    uses = [word for n in range(len(values)) for word in ("--secret", f"v{n}:env=V{n}")]
    for n, value in enumerate(values):
        create(host, f"v{n}", value)
    host.gear("install", TOOLS, "exact", "--start", "--secret", "every:/etc/every", *uses)
    assert (
        inside(host, "exact", "sha256sum < /etc/every").split()[0]
        == (host.run(["sha256sum"], stdin=every).stdout.split()[0])
    )
    raw = inside(host, "exact", "cat /proc/1/environ")
    found = dict(item.split("=", 1) for item in raw.split("\0") if "=" in item)
    assert [found.get(f"V{n}") for n in range(len(values))] == values


def test_a_secret_wins_over_the_environment(host: Shell) -> None:
    create(host, "plain", "secret")
    create(host, "lines", "secret\nlines")
    host.gear(
        *("install", TOOLS, "both", "A=own", "B=own\nlines", "C=own", "D=own\nlines", "E=own", "--start"),
        *(
            "--secret",
            "plain:env=A",
            "--secret",
            "plain:env=B",
            "--secret",
            "lines:env=C",
            "--secret",
            "lines:env=D",
        ),
    )
    assert inside(host, "both", 'printf "%s|" "$A" "$B" "$C" "$D" "$E"') == (
        "secret|secret|secret\nlines|secret\nlines|own|"
    )


@BOTH
@pytest.mark.parametrize("options", [[], ["--simple"]], ids=["isolated", "simple"])
def test_whose_a_file_is(host: Shell, options: list[str]) -> None:
    create(host, "db", "value")
    host.gear(
        *("install", TOOLS, "owner", "--start", *options, "-v", "/data"),
        *("--secret", "db", "--secret", "db:/etc/key,mode=0400,uid=1001,gid=7", "--secret", "db:/data/in/key"),
    )
    files = "/run/secrets/db /etc/key /data/in/key"
    assert inside(host, "owner", f"stat -c '%a %u:%g' {files}").splitlines() == [
        "444 0:0",
        "400 1001:7",
        "444 0:0",
    ]
    assert inside(host, "owner", "cat /run/secrets/db", "--user", "4321") == "value"
    assert inside(host, "owner", "cat /etc/key", "--user", "1001") == "value"
    assert inside(host, "owner", "cat /etc/key || echo no", "--user", "4321") == "no\n"
    for script in ("echo x > /run/secrets/db", "rm /run/secrets/db", "mount -o remount,rw /run/secrets/db"):
        assert inside(host, "owner", f"{script} 2>/dev/null || echo no") == "no\n"


def test_a_new_value_comes_in_with_a_restart(host: Shell) -> None:
    create(host, "db", "old")
    words = ("install", TOOLS, "web", "--start", "--secret", "db", "--secret", "db:env=DB")
    host.gear(*words)
    pid = host.status("web")["Pid"]
    host.gear(*words)
    assert host.status("web")["Pid"] == pid
    assert create(host, "db", "new", "--replace") == "Secret db is stored; to bring it in: gear restart web\n"
    assert "db changed since the start: 'gear restart web' brings it in" in host.gear("status", "web").stdout
    assert inside(host, "web", "cat /run/secrets/db") == "old"
    host.gear(*words)
    assert inside(host, "web", 'cat /run/secrets/db; echo " $DB"') == "new new\n"
    assert "changed since" not in host.gear("status", "web").stdout
    host.sh("kill -9 $(cat /run/geard/gears/ctr-web/pid)")
    eventually(lambda: host.status("web")["Restarts"] == 1 and host.status("web")["ActiveState"] == "active")
    assert inside(host, "web", "cat /run/secrets/db") == "new"


def test_a_start_without_its_secret_is_tried_until_that_is_there(host: Shell) -> None:
    create(host, "db", "value")
    host.gear("install", TOOLS, "web", "--secret", "db")
    assert host.gear("secret", "remove", "db", check=False).returncode == 6
    host.gear("secret", "remove", "--force", "db")
    done = host.gear("start", "web", check=False)
    assert done.returncode == 1 and "there is no secret db here (gear secret create db)" in done.stderr
    status = host.status("web")
    assert status["SubState"] == "auto-restart"
    assert any("there is no secret db here" in line for line in status["Advice"])
    create(host, "db", "value")
    eventually(lambda: host.status("web")["ActiveState"] == "active", 30)
    assert inside(host, "web", "cat /run/secrets/db") == "value"


def test_after_a_reboot_they_are_there_again(host: Shell) -> None:
    create(host, "db", "value")
    host.gear("install", TOOLS, "web", "--start", "--secret", "db")
    host.lab_does("reboot", host.name)
    eventually(lambda: host.status("web")["ActiveState"] == "active", 60)
    assert inside(host, "web", "cat /run/secrets/db") == "value"
