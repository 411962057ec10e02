"""Jobs on a real host: `gear run`, without an agent and through it; what is kept of them when they have ended."""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from typing import Any

import pytest
from tests.lab.conftest import APP, BOTH, SETTINGS, Shell, drive, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
WAYS = pytest.mark.parametrize("at", [[], ["--host", "localhost"]], ids=["root", "over HTTP"])


def run(host: Shell, *words: str, stdin: str | bytes = b"") -> Any:
    return host.run(["gear", "run", *words], stdin=stdin, check=False)


def shown(host: Shell, id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(host.gear("job", "show", "-o", "json", id).stdout)
    return found[0]


def has_ended(host: Shell, id: str) -> bool:
    return bool(shown(host, id)["State"] == "ended")


def last(host: Shell) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(host.gear("jobs", "-a", "-o", "json").stdout)
    return found[0]


def nothing_is_left(host: Shell) -> bool:
    """Of what ran: no unit, no container, no users or address taken."""
    units = host.sh("systemctl list-units --all --plain --no-legend 'job-*'").stdout
    slots = host.sh("find /var/lib/containers/slots -lname '*/jobs/*'; ls /run/geard/jobs").stdout
    return not units and not host.containers and not slots


@BOTH
@WAYS
def test_a_job(host: Shell, at: list[str]) -> None:
    done = run(host, *at, TOOLS, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    job = last(host)
    result = job["Result"]
    assert (job["State"], result["Status"], result["Reason"]) == ("ended", 7, "")
    assert result["Started"] < result["Ended"]
    assert result["Output"] == 8
    eventually(lambda: nothing_is_left(host))
    assert len(shown(host, job["Id"])["Result"]["ImageId"]) == 64
    events = [json.loads(line) for line in host.gear("events", "-o", "json", job["Id"]).stdout.splitlines()]
    assert [(each["Kind"], each["ExitStatus"]) for each in events] == [("job-started", None), ("job-ended", 7)]
    log = host.gear("job", "log", job["Id"])
    assert (log.stdout, log.stderr) == ("out\n", "err\n")
    told = host.agent("GET", f"/job/{job['Id']}/log").stdout
    # docker's client has them by two pipes: which comes first is not told
    assert told in (("out\nerr\n", "err\nout\n") if host.engine == "docker" else ("out\nerr\n",))


@BOTH
@WAYS
def test_what_the_engine_says(host: Shell, at: list[str]) -> None:
    assert run(host, *at, TOOLS, "nosuch").returncode == 127
    assert run(host, *at, TOOLS, "/etc/passwd").returncode == 126
    refused = run(host, *at, "h9:5000/nosuch", "true")
    assert refused.returncode == 125
    assert "could not be brought here" in refused.stderr
    assert run(host, *at, TOOLS, "cat", stdin="x").stdout == "", "no input unless asked for"
    eventually(lambda: nothing_is_left(host))


@BOTH
@WAYS
def test_bytes_arrive_as_they_are(host: Shell, at: list[str]) -> None:
    data = os.urandom(5_000_000)
    told = host.run(["sh", "-c", f"gear run {' '.join(at)} -i {TOOLS} cat | sha256sum"], stdin=data).stdout
    assert told.split()[0] == hashlib.sha256(data).hexdigest()


@BOTH
def test_environment_user_limits(host: Shell) -> None:
    script = 'echo "$A $B" $(id -u) $(pwd) $HOSTNAME; grep -c . /data/f; cat /proc/1/status | grep -E "NoNewPrivs"'
    host.sh("mkdir -p /tmp/shown && echo x >/tmp/shown/f && printf 'B=from a file\\n' >/tmp/variables")
    done = run(
        host, "-e", "A=two\nlines", "--env-file", "/tmp/variables", "-u", "1234", "-w", "/tmp", "--name", "named",
        "--memory", "64m", "-v", "/tmp/shown:/data:ro", TOOLS, "--", "sh", "-c", script,
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == ["two", "lines from a file 1234 /tmp named", "1"], done.stderr
    assert "NoNewPrivs:\t1" in done.stdout
    job = shown(host, "named")
    assert (job["Limits"]["Memory"], job["Variables"]) == (64 << 20, ["B", "A"])
    assert "two" not in host.sh("cat /var/lib/containers/jobs/na/named/job").stdout, "no value is kept"
    again = run(host, "--name", "named", TOOLS, "true")
    assert again.returncode == 125
    assert "there is a job named here already" in again.stderr


@BOTH
def test_who_leaves_ends_nothing(host: Shell) -> None:
    script = "echo begun; while [ ! -e /gate/open ]; do sleep 0.1; done; echo ended; exit 3"
    host.sh("rm -rf /tmp/gate; mkdir /tmp/gate")
    run(host, "-d", "--name", "long", "-v", "/tmp/gate:/gate", TOOLS, "--", "sh", "-c", script)
    host.sh(
        "gear job attach localhost/long >/tmp/a & a=$!; gear job attach long >/tmp/b & sleep 1; kill -KILL $a $!"
    )
    eventually(lambda: shown(host, "long")["State"] == "running")
    host.sh("touch /tmp/gate/open")
    joined = host.run(["gear", "job", "attach", "localhost/long"], check=False)
    assert (joined.returncode, joined.stdout) == (3, "begun\nended\n")
    late = host.run(["gear", "job", "attach", "long"], check=False)
    assert (late.returncode, late.stdout) == (3, "begun\nended\n"), "also when it has ended"
    assert host.run(["gear", "job", "wait", "long"], check=False).returncode == 3


@BOTH
@WAYS
def test_a_terminal(host: Shell, at: list[str]) -> None:
    done = drive(
        host,
        ["gear", "run", *at, "-it", TOOLS, "sh"],
        [
            ["size", 30, 100],
            ["expect", "# "],
            ["send", "stty size; echo $TERM; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three\n"],
            ["expect", "30 100\r\nvt220\r\nall three\r\n"],
            ["size", 40, 120],
            ["pause", 0.5],
            ["send", "stty size\n"],
            ["expect", "40 120\r\n"],
            ["send", "sleep 1000; echo ended with $?\n"],
            ["pause", 0.5],
            ["send", "\x03"],
            ["expect", "# "],
            ["send", "exit 9\n"],
        ],
    )
    assert done == {"status": 9, "restored": True}


@BOTH
def test_keys_leave_it_and_it_goes_on(host: Shell) -> None:
    where = "localhost/" if host.engine == "podman" else ""
    done = drive(
        host,
        ["gear", "run", "-it", "--name", f"{where}left", TOOLS, "sh"],
        [["expect", "# "], ["send", "A=kept\n"], ["expect", "# "], ["send", "\x10"], ["send", "\x11"],
         ["expect", f"left: gear job attach -i {where}left"]],
    )  # fmt: skip
    assert done == {"status": 0, "restored": True}
    assert shown(host, "left")["State"] == "running"
    again = drive(
        host,
        ["gear", "job", "attach", "-i", "--recent", "--detach-keys", "ctrl-x", f"{where}left"],
        [["send", "echo $A\n"], ["expect", "\nkept\r\n"], ["send", "\x18"], ["expect", "left: "]],
    )
    assert again == {"status": 0, "restored": True}
    end = ["gear", "job", "attach", "-i", "--detach-keys", "", f"{where}left"]
    assert drive(host, end, [["expect", "kept\r\n"], ["send", "exit 5\n"]])["status"] == 5
    refused = run(host, "-it", "--detach-keys", "ctrl-1", TOOLS, "sh")
    assert (refused.returncode, "no key to leave by" in refused.stderr) == (125, True)


@BOTH
def test_ctrl_c_ends_it(host: Shell) -> None:
    script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    done = drive(
        host,
        ["gear", "run", TOOLS, "--", "sh", "-c", script],
        [["expect", "ready"], ["send", "\x03"], ["expect", "interrupted"]],
    )
    assert done["status"] == 5
    deaf = drive(
        host,
        ["gear", "run", "--stop-timeout", "1", TOOLS, "--", "sh", "-c", "echo ready; exec sleep 1000"],
        [["expect", "ready"], ["send", "\x03"]],
    )
    assert deaf["status"] == 137, "sleep as the first process hears no INT"
    eventually(lambda: nothing_is_left(host))


@BOTH
def test_cancel_and_time_limit(host: Shell) -> None:
    run(host, "-d", "--name", "endless", "--stop-timeout", "1", TOOLS, "sleep", "1000")
    host.gear("job", "cancel", "endless")
    result = shown(host, "endless")["Result"]
    assert (result["Status"], result["Reason"]) == (137, "canceled")
    assert "root" in result["Message"]
    done = run(host, "--time-limit", "1", "--stop-timeout", "1", TOOLS, "--", "sh", "-c", "trap '' TERM; sleep 99")
    assert (done.returncode, last(host)["Result"]["Reason"]) == (137, "time limit")
    assert "its time limit" in done.stderr
    eventually(lambda: nothing_is_left(host))


@BOTH
def test_out_of_bounds(host: Shell) -> None:
    """Output without end, forks without end, more memory than its limit: the job pays, and it is told."""
    settings = f'[engine]\ndefault = "{host.engine}"\n[jobs]\nkeep-output = "1m"\n'
    host.sh(f"touch {SETTINGS}; cp {SETTINGS} {SETTINGS}.before")
    host.run(["tee", SETTINGS], stdin=settings)
    try:
        flood = run(
            host,
            "--name",
            "flood",
            TOOLS,
            "--",
            "sh",
            "-c",
            "echo first; yes $(printf %0199d 0) | head -c 20000000; echo last",
        )
        assert len(flood.stdout) == 20_000_011, "who follows is given all of it"
        result = shown(host, "flood")["Result"]
        assert result["Output"] == 20_000_011
        assert 18_000_000 < result["OutputLost"] < 20_000_000
        assert int(host.sh("du -sb /var/lib/containers/jobs/fl/flood | cut -f1").stdout) < 1_300_000
        log = host.gear("job", "log", "flood")
        assert log.stdout.startswith("first\n")
        assert log.stdout.endswith("last\n")
        assert "are not kept" in log.stderr
        bomb = run(host, "--pids", "32", "--time-limit", "2", "--stop-timeout", "0", TOOLS, "--", "sh", "-c",
                   "f() { f | f & }; f & exec sleep 1000")  # fmt: skip
        assert bomb.returncode == 137
        fat = run(host, "--memory", "16m", TOOLS, "--", "sh", "-c", "x=x; while :; do x=$x$x; done")
        assert (fat.returncode, last(host)["Result"]["Reason"]) == (137, "memory")
    finally:
        host.sh(f"mv {SETTINGS}.before {SETTINGS}")
    eventually(lambda: nothing_is_left(host))


def test_kills_its_parent(host: Shell) -> None:
    """It can kill what it sees, which is itself; where its unit's main process is killed, all of it ends."""
    done = run(host, TOOLS, "--", "sh", "-c", "kill -9 -1; kill -9 $PPID; sleep 0.2; kill -9 $$; echo still here")
    assert done.stdout == "still here\n", "the first process of its namespace"
    run(host, "-d", "--name", "orphan", TOOLS, "sleep", "1000")
    eventually(lambda: shown(host, "orphan")["State"] == "running")
    host.sh("systemctl kill --kill-whom=main -s KILL job-orphan.service")
    eventually(lambda: shown(host, "orphan")["State"] == "ended")
    assert shown(host, "orphan")["Result"]["Reason"] == "cut"
    assert host.run(["gear", "job", "attach", "orphan"], check=False).returncode == 125
    eventually(lambda: nothing_is_left(host))


def test_the_agent_is_killed(host: Shell) -> None:
    """At any time: what was answered is done, once, and its result is found."""
    kill = "systemctl kill -s KILL geard.service"
    script = "umask 0; echo run >>/gate/runs; sleep 0.5; echo done; exit 4"
    host.sh("rm -rf /tmp/gate; mkdir -m 777 /tmp/gate")
    for number, pause in enumerate(("0", "0.02", "0.1", "0.4", "0.8")):
        name = f"cut-{number}"
        words = f"gear run --host localhost -d --name {name} -v /tmp/gate:/gate {TOOLS} -- sh -c '{script}'"
        assert host.sh(f"{words} && sleep {pause} && {kill}").stdout == f"localhost/{name}\n"
        eventually(partial(has_ended, host, name), 60)
        assert shown(host, name)["Result"]["Status"] == 4
        assert host.gear("job", "log", name).stdout == "done\n"
    assert host.sh("wc -l </tmp/gate/runs").stdout.strip() == "5"
    follower = f"gear run --host localhost --name seen {TOOLS} -- sh -c 'echo begun; sleep 2; exit 6'"
    left = host.sh(f"{follower} & sleep 1; {kill}; wait $!", check=False)
    assert left.returncode == 125
    assert "gear job attach localhost/seen" in left.stderr
    assert host.run(["gear", "job", "attach", "localhost/seen"], check=False).returncode == 6


@BOTH
@WAYS
def test_artifacts(host: Shell, at: list[str]) -> None:
    links = "ln -s ../a b/inside; ln -s /etc/shadow evil; ln -s ../../x b/out"
    script = f"cd /out; echo hello >a; mkdir b; {links}; mkfifo p"
    host.sh("rm -rf /tmp/here")
    done = run(host, *at, "--name", "maker", "--artifacts", "/out", "--artifacts-to", "/tmp/here",
               "-u", "1000", TOOLS, "--", "sh", "-c", script)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert host.sh("cd /tmp/here; find . | sort; cat b/inside").stdout.split() == [
        *(".", "./a", "./b", "./b/inside", "hello")
    ]
    listed = host.sh("curl -sf localhost:43273/job/maker/artifacts | tar t | sort").stdout
    assert listed.split() == ["a", "b/", "b/inside"]
    nothing = run(host, *at, "--name", "idle", TOOLS, "true")
    assert nothing.returncode == 0
    assert "hands nothing back" in host.run(["gear", "job", "artifacts", "idle"], check=False).stderr


@BOTH
def test_it_is_kept_apart(host: Shell) -> None:
    host.gear("install", APP, "web", "--start")
    definition = host.sh("sed -n 's/^# geard: //p' /var/lib/containers/units/we/ctr-web.run").stdout
    address, port = json.loads(definition)["Ipv4"], host.port("web")
    script = f"""
        nc -w2 {address} 8080 </dev/null && echo reached the gear
        nc -w2 {host.address} 43273 </dev/null && echo reached the agent
        wget -qO- -T 5 http://{host.address}:{port}/
        cat /proc/1/uid_map"""
    said = run(host, TOOLS, "--", "sh", "-c", script).stdout
    assert "reached" not in said
    assert host.page(port) in said, "what is published is there for all"
    if host.engine == "podman":
        assert int(said.split()[-2]) >= 2_000_000, "its root is nobody on the host"


def test_hostile_words(host: Shell) -> None:
    for words in (["--name", "../x", TOOLS], ["--name", "a\nb", TOOLS], ["-e", "A B=c", TOOLS], ["--", "x"],
                  ["-v", "/data", TOOLS], ["--artifacts", "/a/../b", TOOLS], ["--time-limit", "soon", TOOLS],
                  ["-w", "relative", TOOLS], ["--memory", "1", TOOLS], ["-v", "/nosuch:/x", TOOLS]):  # fmt: skip
        refused = run(host, *words)
        assert refused.returncode == 125, words
        assert refused.stderr, words
    done = run(host, "-e", "LD_PRELOAD=/x.so", "-e", 'Q=%n $HOME "\\', TOOLS, "--", "env")
    assert {"LD_PRELOAD=/x.so", 'Q=%n $HOME "\\'} <= set(done.stdout.splitlines())
    assert host.gear("jobs", "-q").stdout == ""
