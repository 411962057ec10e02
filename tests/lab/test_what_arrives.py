"""What was given arrives in the container, byte for byte: commands, environment, labels, volumes, users."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.lab.conftest import Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
NASTY = [
    "",
    " ",
    "%n %% $x ${x} $$",
    "q\"u'o`t\\e\\\\",
    "a\nb",
    "\ttab\r",
    "ünï ☃ 🜚",
    "--flag=x",
    "#no ;comment",
    "*?[a]",
]


def test_words_of_a_command(host: Shell) -> None:
    script = 'for a in "$@"; do printf %s "$a" | od -An -tx1 | tr -d " \\n"; echo; done; sleep 3600'
    host.gear("install", TOOLS, "argv", "--start", "--", "sh", "-c", script, "sh", *NASTY)
    eventually(lambda: len(host.run(["journalctl", "-q", "-o", "cat", "-t", "ctr-argv"]).stdout.splitlines()) >= 0)
    inspected = json.loads(host.run(["podman", "inspect", "ctr-argv"]).stdout)[0]
    assert inspected["Config"]["Cmd"][4:] == NASTY


def test_environment(host: Shell) -> None:
    values = {f"V{n}": value for n, value in enumerate(NASTY)}
    body = {
        "Image": TOOLS,
        "Started": True,
        "Environment": {"Variables": [{"Name": n, "Value": v} for n, v in values.items()]},
    }
    host.agent("PUT", "/container/environs", body, "--fail-with-body")
    eventually(lambda: host.status("environs")["ActiveState"] == "active")
    raw = host.run(["podman", "exec", "ctr-environs", "cat", "/proc/1/environ"]).stdout
    found = dict(item.split("=", 1) for item in raw.split("\0") if "=" in item)
    assert {name: found.get(name) for name in values} == values
    answered = json.loads(
        host.agent("GET", "/environment/environs", None, "-H", "Accept: application/json").stdout
    )
    assert {v["Name"]: v["Value"] for v in answered["Variables"]} == values


def test_dangerous_names_act_on_the_gear_alone(host: Shell) -> None:
    """PATH, LD_PRELOAD, HOME and their like are the container's, and podman never sees them."""
    host.gear(
        "install",
        TOOLS,
        "danger",
        "--start",
        "PATH=/bin:/nowhere",
        "LD_PRELOAD=/evil.so",
        "HOME=/x",
        "CONTAINERS_CONF=/x",
        "http_proxy=http://x",
    )
    raw = host.run(["podman", "exec", "ctr-danger", "cat", "/proc/1/environ"]).stdout
    found = dict(item.split("=", 1) for item in raw.split("\0") if "=" in item)
    assert found["LD_PRELOAD"] == "/evil.so" and found["PATH"] == "/bin:/nowhere" and found["HOME"] == "/x"
    refused = host.gear("set-env", "danger", "LD_PRELOAD=a\nb", check=False)
    assert refused.returncode == 64


def test_no_value_is_readable_by_others(host: Shell) -> None:
    host.gear("install", TOOLS, "secret", "--start", "TOKEN=hunter2")
    assert host.sh("grep -ral 'hunter[2]' /proc/[0-9]*/cmdline || true").stdout == ""
    found = host.run(
        [
            "su",
            "-s",
            "/bin/sh",
            "nobody",
            "-c",
            "grep -rls 'hunter[2]' /var/lib/containers /run/geard /etc/systemd || true",
        ]
    )
    assert found.stdout == ""
    assert "hunter2" not in host.gear("cat", "secret").stdout


def test_set_env_acts_at_the_next_start(host: Shell) -> None:
    host.gear("install", TOOLS, "env", "--start", "A=1", "B=2")
    host.gear("set-env", "env", "B=3", "C=4", "--remove", "A")
    host.gear("restart", "env")
    raw = host.run(["podman", "exec", "ctr-env", "env"]).stdout.splitlines()
    assert "B=3" in raw and "C=4" in raw and not any(line.startswith("A=") for line in raw)
    host.gear("install", TOOLS, "env", "--start", "B=5")
    raw = host.run(["podman", "exec", "ctr-env", "env"]).stdout.splitlines()
    assert "B=5" in raw and "C=4" not in raw, "installed anew, a gear's own environment is replaced, and at once"


def test_a_shared_environment(host: Shell) -> None:
    host.gear("set-env", "shared", "--reset", "S=1")
    host.gear("install", TOOLS, "one", "two", "--start", "--env-id", "shared")
    for name in ("one", "two"):
        assert "S=1" in host.run(["podman", "exec", f"ctr-{name}", "env"]).stdout
    host.gear("install", TOOLS, "one", "--env-id", "shared", "T=2")
    assert host.gear("env", "shared").stdout == "S=1\nT=2\n", "attaching does not wipe it"
    host.gear("delete", "--purge", "one")
    assert host.gear("env", "shared").stdout == "S=1\nT=2\n"


def test_volumes_and_bind_mounts(host: Shell) -> None:
    host.sh("rm -rf /srv/ro /srv/rw && mkdir -p /srv/ro /srv/rw && echo there > /srv/ro/file && chmod 777 /srv/rw")
    host.gear("install", TOOLS, "disk", "--start", "-v", "/data,/srv/ro:/ro:ro,/srv/rw:/rw")

    def inside(script: str) -> subprocess.CompletedProcess[str]:
        return host.run(["podman", "exec", "ctr-disk", "sh", "-c", script], check=False)

    assert inside("cat /ro/file").stdout == "there\n"
    assert inside("touch /ro/x").returncode != 0
    assert inside("touch /rw/x /data/x /tmp/x && chown 1000:1000 /data/x").returncode == 0
    host.gear("restart", "disk")
    assert inside("ls /rw/x /data/x").returncode == 0
    assert inside("ls /tmp/x").returncode != 0
    assert inside("stat -c %u:%g /data/x").stdout == "1000:1000\n"


def test_root_inside_is_nobody_outside(host: Shell) -> None:
    host.gear("install", TOOLS, "jail", "--start")
    host.gear("install", TOOLS, "bare", "--start", "--simple")

    def uid(name: str) -> str:
        return host.sh(f"stat -c %u /proc/$(cat /run/geard/gears/ctr-{name}/pid)").stdout

    assert int(uid("jail")) >= 2_000_000
    assert int(uid("bare")) == 0
    other = host.status("jail")
    assert any(fact["Label"] == "Users" and "nobody outside" in fact["Text"] for fact in other["Facts"])
    host.gear("install", TOOLS, "jail2", "--start")
    assert uid("jail") != uid("jail2")


def test_hostile_words_are_refused(host: Shell) -> None:
    before = host.sh("find /var/lib/containers/units /etc/systemd/system | sort").stdout
    for words in (
        ["../../etc"], ["a"], ["-x"], ["a b"], ["x/../y"], ["ok", "-v", "relative"], ["ok", "-v", "/a/../b"],
        ["ok", "--label", "x\ny=1"], ["ok", "--memory", "lots"], ["ok", "-p", "80"], ["ok", "-p", "99999:1"],
        ["ok", "--slice", "system"], ["ok", "A B=1"], ["ok", "--stop-timeout", "-1"],
    ):  # fmt: skip
        done = (
            host.gear("install", TOOLS, "--", *words[:0], check=False)
            if not words
            else host.run(["gear", "install", TOOLS, *words], check=False)
        )
        assert done.returncode == 64, (words, done.stderr)
    for image in ("UPPER", "a b", "x:y:z", "../x", "-rm", "x@sha256:short"):
        assert host.run(["gear", "install", image, "ok"], check=False).returncode == 64, image
    assert host.sh("find /var/lib/containers/units /etc/systemd/system | sort").stdout == before
