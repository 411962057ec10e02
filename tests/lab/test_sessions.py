"""Programs inside gears on a real host: `gear exec`, `gear shell`, `switchns`, without an agent and through it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Generator

import pytest
from tests.lab.conftest import BOTH, Shell, drive, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
MEMBER = ("runuser", "-u", "member", "--")
ROOT_HERE: tuple[str, ...] = ()


@pytest.fixture
def web(host: Shell) -> Shell:
    host.gear("install", TOOLS, "web", "--start", "-p", "none", "GREETING=hello there", "-v", "/data")
    return host


@pytest.fixture
def member(host: Shell) -> Generator[None]:
    host.sh("getent passwd member >/dev/null || useradd --create-home member; usermod -aG geard member")
    yield
    host.sh("userdel --remove member 2>/dev/null")


WAYS = pytest.mark.parametrize(
    ("who", "name"),
    [(ROOT_HERE, "web"), (ROOT_HERE, "localhost/web"), (MEMBER, "web")],
    ids=["root", "root over HTTP", "member of group geard"],
)


@BOTH
@WAYS
@pytest.mark.usefixtures("member")
def test_exec(web: Shell, who: tuple[str, ...], name: str) -> None:
    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return web.run([*who, "gear", "exec", *words], stdin=stdin, check=False)

    done = run(name, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert run(name, "true").returncode == 0
    assert run(name, "/etc/passwd").returncode == 126
    assert run(name, "nosuch").returncode == 127
    refused = run(name.replace("web", "nosuch"), "true")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (125, "Error: there is no gear nosuch here")
    assert run(name, "cat", stdin="x").stdout == "", "no input unless asked for"
    assert run("-i", name, "cat", stdin="x").stdout == "x"
    assert run("-w", "/data", name, "pwd").stdout == "/data\n"
    assert run("-u", "1234:5678", name, "sh", "-c", "id -u; id -g").stdout == "1234\n5678\n"
    for _ in range(4):  # what is said is heard, also where input is on its way to who reads none
        done = run("-i", name, "sh", "-c", "echo out; echo err >&2; exit 7", stdin="x" * 100_000)
        assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    found = run("-e", "A=1", "-e", "B=two\nlines", name, "sh", "-c", 'echo "$GREETING $A $B $HOSTNAME"').stdout
    assert found == "hello there 1 two\nlines web\n"


@BOTH
@WAYS
@pytest.mark.usefixtures("member")
def test_bytes_arrive_as_they_are(web: Shell, who: tuple[str, ...], name: str) -> None:
    data = os.urandom(10_000_000)
    word = " ".join([*who, "gear", "exec", "-i", name, "--", "cat"])
    told = web.run(["sh", "-c", f"{word} | sha256sum"], stdin=data).stdout
    assert told.split()[0] == hashlib.sha256(data).hexdigest()


@BOTH
@WAYS
@pytest.mark.usefixtures("member")
def test_a_terminal(web: Shell, who: tuple[str, ...], name: str) -> None:
    """It has a size and follows it; Ctrl-C reaches the program; afterwards the terminal is as it was."""
    done = drive(
        web,
        [*who, "gear", "exec", "-it", name, "sh"],
        [
            ["size", 30, 100],
            ["expect", "# "],
            ["send", "stty size; echo $TERM; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three\n"],
            ["expect", "30 100\r\nvt220\r\nall three\r\n"],
            ["size", 40, 120],
            ["pause", 0.5],
            ["send", "stty size\n"],
            ["expect", "40 120\r\n"],
            ["send", "echo start; sleep 1000; echo ended with $?\n"],
            ["expect", "start\r\n"],
            ["pause", 0.5],
            ["send", "\x03"],
            ["expect", "# "],
            ["send", "exit 9\n"],
        ],
    )
    assert done == {"status": 9, "restored": True}


@WAYS
@pytest.mark.usefixtures("member")
def test_a_shell(web: Shell, who: tuple[str, ...], name: str) -> None:
    piped = web.run([*who, "gear", "shell", name], stdin="echo from $0; exit 3\n", check=False)
    assert (piped.returncode, piped.stdout) == (3, "from /bin/sh\n")
    typed = [["expect", "# "], ["send", "echo a-$((1+1))\n"], ["expect", "a-2"], ["send", "\x04"]]
    assert drive(web, [*who, "gear", "shell", name], typed) == {"status": 0, "restored": True}


@BOTH
@WAYS
@pytest.mark.usefixtures("member")
def test_signals_reach_the_program(web: Shell, who: tuple[str, ...], name: str) -> None:
    script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    done = drive(
        web,
        [*who, "gear", "exec", name, "--", "sh", "-c", script],
        [["expect", "ready"], ["send", "\x03"], ["expect", "interrupted"]],
    )
    assert done == {"status": 5, "restored": True}


@BOTH
@WAYS
@pytest.mark.usefixtures("member")
@pytest.mark.parametrize("options", ["-i", "-it"])
def test_who_vanishes_leaves_nothing_behind(web: Shell, who: tuple[str, ...], name: str, options: str) -> None:
    done = drive(
        web,
        [*who, "gear", "exec", options, name, "--", "sh", "-c", "echo ready; exec sleep 4242"],
        [["expect", "ready"], ["hang up"]],
    )
    assert done["status"] != 0
    eventually(lambda: inside(web, "sleep 4242") == "")


@BOTH
def test_killed_clients_of_the_agent_leave_nothing_behind(web: Shell) -> None:
    web.sh("gear exec localhost/web sleep 4242 & sleep 1.5; kill -KILL $!; wait")
    eventually(lambda: inside(web, "sleep 4242") == "")


def test_an_agent_that_stops_ends_its_sessions(web: Shell) -> None:
    script = "gear exec localhost/web sleep 4242 & sleep 1.5; systemctl stop geard.service; wait $!; echo $?"
    done = web.sh(script)
    assert done.stdout == "125\n"
    assert "the agent is stopping" in done.stderr
    assert inside(web, "sleep 4242") == ""


def inside(host: Shell, command: str) -> str:
    return host.run(["pgrep", "--full", "--exact", command], check=False).stdout


@BOTH
def test_it_has_the_gears_limits_and_protections(web: Shell) -> None:
    def own(file: str) -> list[str]:
        return web.gear("exec", "web", "--", "grep", "-E", "^(Cap|NoNew|Seccomp)", file).stdout.splitlines()

    facts = dict(line.split(":\t") for line in own("/proc/self/status"))
    first = dict(line.split(":\t") for line in own("/proc/1/status"))
    assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2"
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert int(facts[name], 16) & ~int(first["CapBnd"], 16) == 0
    there = web.gear(
        "exec", "web", "--", "sh", "-c", "readlink /proc/self/ns/pid /proc/self/ns/net; cat /proc/self/cgroup"
    )
    main = web.gear("exec", "web", "--", "sh", "-c", "readlink /proc/1/ns/pid /proc/1/ns/net; cat /proc/1/cgroup")
    assert there.stdout == main.stdout


def test_a_gear_that_does_not_run(host: Shell) -> None:
    host.gear("install", TOOLS, "off")
    for name in ("off", "localhost/off"):
        done = host.gear("exec", name, "true", check=False)
        assert (done.returncode, done.stderr) == (125, "Error: off is not running\n  gear start off\n")


def test_switchns(web: Shell) -> None:
    assert web.run(["switchns", "web", "/bin/sh", "-c", "echo $GREETING"]).stdout == "hello there\n"
    words = [
        "switchns",
        "--container=web",
        "--env",
        "A=1",
        "--env",
        "B=2",
        "--",
        "/bin/sh",
        "-c",
        "echo $A$B; exit 6",
    ]
    done = web.run(words, check=False)
    assert (done.returncode, done.stdout) == (6, "12\n")
    assert web.run(["switchns", "version"]).stdout.startswith("switchns ")
    typed = [["expect", "# "], ["send", "echo a-$((1+1))\n"], ["expect", "a-2"], ["send", "exit\n"]]
    assert drive(web, ["switchns", "web", "/bin/sh"], typed) == {"status": 0, "restored": True}
    assert web.run(["stat", "-c", "%a %U", "/usr/bin/switchns"]).stdout == "755 root\n"
    assert web.run(["runuser", "-u", "nobody", "--", "switchns", "web", "id"], check=False).returncode == 125


def test_the_journal_knows_who_ran_what_and_no_secret(web: Shell) -> None:
    web.gear("exec", "-e", "PASSWORD=hidden1", "localhost/web", "--", "echo", "hidden2")
    told = web.run(["journalctl", "-u", "geard.service", "-o", "cat", "-n", "20"]).stdout
    assert "uid 0 (root), loopback: POST /container/web/exec ('echo')" in told
    assert "hidden" not in told


@BOTH
def test_others_see_no_value_of_a_variable(web: Shell) -> None:
    for name in ("web", "localhost/web"):
        seen = web.sh(
            f"gear exec -e PASSWORD=hidden1 {name} sleep 3 & sleep 1.5; ps -eww -o args | grep -v grep; wait"
        ).stdout
        assert web.engine in seen
        assert not [line for line in seen.splitlines() if "hidden1" in line and "gear exec" not in line]
