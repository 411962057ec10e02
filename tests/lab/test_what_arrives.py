"""What was given arrives in the container, byte for byte, or was refused with the reason: words of commands,
environments, labels, paths. By every way in, with thousands of strings that are the same at each run.
"""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
from collections.abc import Mapping, Sequence

import pytest
from tests.lab.conftest import BOTH, Shell

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
SEED = 43273
# A shell as PID 1 that ends at once when it is told to; what follows are its arguments.
WAIT = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done", "sh"]

NASTY = (
    "\"\"''\\\\\\$$%%``{}()[]<>|&;#!*?~^=,:/-.+@_  \t\n\r\x01\x07\x1b\x7f\x80\x85\xa0"
    "éü☃🜚\u200b\u2028\u202e\ufeff\ue000\U0010fffd"
)
WHOLE = ("", " ", "\n", "\r\n", "--", "-v", "--rm", "%n", "%%", "${x}", "$x", "$$", "$(id)", "\\", "\\\\n", '"',
         "'", '""', "a\\", "#", ";", "!", "x" * 5_000, "é" * 2_000, "\n" * 300, '"\\' * 500, "GEAR_RUN=", "=", "=="
         )  # fmt: skip


def strings(what: str, count: int) -> list[str]:
    """Of many lengths, made of what quoting goes wrong with. `what` and the seed say which, at every run."""
    chance = random.Random(f"{SEED} {what}")
    found: list[str] = [*WHOLE]
    while len(found) < count:
        letters = NASTY if chance.random() < 0.8 else "abc" + NASTY[:20]
        found.append("".join(chance.choices(letters, k=chance.choice((1, 2, 3, 5, 8, 13, 40)))))
    return found[:count]


def variables(what: str, count: int) -> dict[str, str]:
    chance = random.Random(f"{SEED} names {what}")
    tails = ("".join(chance.choices("AZaz09_.-", k=chance.randrange(8))) for _ in range(count))
    first = (chance.choice("VvZ_") for _ in range(count))
    rows = zip(first, tails, strings(what, count), strict=True)
    found = {f"{begin}{n}{tail}": value for n, (begin, tail, value) in enumerate(rows)}
    # Names that have more than a shell's letters take values of one line.
    return {re.sub("[.-]", "_", n) if "\n" in v or v.endswith("\r") else n: v for n, v in found.items()}


def same(found: Sequence[str], given: Sequence[str], about: str) -> None:
    """Each as it was given; tells the first that is not, rather than all of them."""
    for n, (is_now, was) in enumerate(zip(found, given, strict=False)):
        assert is_now == was, f"{about}, seed {SEED}: number {n} was {was!r} and is {is_now!r}"
    assert len(found) == len(given), f"{about}: {len(given)} were given, {len(found)} are there"


def same_values(found: Mapping[str, str], given: Mapping[str, str], about: str) -> None:
    for name, value in given.items():
        assert found.get(name) == value, f"{about}, seed {SEED}: {name}={value!r} is {found.get(name)!r}"


def process_file(host: Shell, name: str, file: str) -> list[str]:
    """What the kernel has of a gear's PID 1: the words of its command line, or of its environment."""
    return (
        host.output(["sh", "-c", f"cat /proc/$(cat /run/geard/gears/ctr-{name}/pid)/{file}"])
        .decode()
        .split("\0")[:-1]
    )


def command_of(host: Shell, name: str) -> list[str]:
    found = process_file(host, name, "cmdline")
    assert found[: len(WAIT)] == WAIT
    return found[len(WAIT) :]


def environment_of(host: Shell, name: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in process_file(host, name, "environ"))


def as_body(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in values.items()]


def ask(host: Shell, method: str, path: str, body: object) -> str:
    """As Shell.agent, for bodies longer than one word of a command line may be."""
    url = f"http://localhost:43273{path}"
    return host.run(
        ["curl", "-sS", "--fail-with-body", "-X", method, url, "--data-binary", "@-"], stdin=json.dumps(body)
    ).stdout


# Runs a command line of bytes, which its own standard input holds.
SPAWN = """
import base64, json, os, sys
argv = [base64.b64decode(word) for word in json.load(sys.stdin)]
os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
os.execvp(argv[0], argv)
"""


def spawned(words: Sequence[bytes]) -> str:
    return json.dumps([base64.b64encode(word).decode() for word in words])


# --- commands


@BOTH
def test_a_command_given_at_the_terminal(host: Shell) -> None:
    words = strings("command, terminal", 600)
    host.gear("install", TOOLS, "argv", "--start", "--", *WAIT, *words)
    same(command_of(host, "argv"), words, "a command given at the terminal")
    inspected = json.loads(host.run([host.engine, "inspect", "ctr-argv"]).stdout)[0]
    same(inspected["Config"]["Cmd"][len(WAIT) :], words, "the command in podman inspect")
    host.gear("restart", "argv")
    same(command_of(host, "argv"), words, "a command after a restart")


def test_a_command_given_over_http(host: Shell) -> None:
    words = strings("command, http", 600)
    body = {"Image": TOOLS, "Started": True, "Entrypoint": WAIT, "Command": words}
    ask(host, "PUT", "/container/argv?follow=true", body)
    same(command_of(host, "argv"), words, "a command given over HTTP")


def test_a_command_of_more_than_the_kernel_takes_is_refused(host: Shell) -> None:
    refused = host.run(["gear", "install", TOOLS, "argv", "--", *["x" * 10_000] * 14], check=False)
    assert refused.returncode == 64 and "more than 131000 bytes" in refused.stderr
    assert host.gear("list", "-a", "-q").stdout == ""


@BOTH
@pytest.mark.parametrize("where", ["", "localhost/"])
def test_what_exec_is_given(host: Shell, where: str) -> None:
    host.gear("install", TOOLS, "argv", "--start")
    words, values = strings(f"exec {where}", 500), variables(f"exec {where}", 150)
    options = [word for name, value in values.items() for word in ("-e", f"{name}={value}")]
    show = ["sh", "-c", "cat /proc/$$/cmdline; true", "sh"]  # true: else the shell turns into cat
    out = host.output(["gear", "exec", f"{where}argv", "--", *show, *words]).decode()
    same(out.split("\0")[len(show) : -1], words, "the command line of an exec")
    out = host.output(["gear", "exec", *options, f"{where}argv", "--", "cat", "/proc/self/environ"]).decode()
    found = dict(word.split("=", 1) for word in out.split("\0") if word)
    same_values(found, values, "the environment of an exec")


# --- environments


@BOTH
def test_an_environment_by_every_way(host: Shell) -> None:
    """Install, set-env, PUT, PATCH, a file: each sets just what it says, and the next start has it."""
    whole = variables("environment", 250)
    given = [f"{name}={value}" for name, value in whole.items()]
    host.gear("install", TOOLS, "terminal", "--start", *given, "--", *WAIT)
    host.gear("set-env", "--reset", "set", *given)
    ask(host, "PUT", "/environment/put", {"Variables": as_body(whole)})
    ask(host, "PUT", "/environment/patched", {"Variables": as_body({**whole, "GONE": "1", "V0": "other"})})
    ask(host, "PATCH", "/environment/patched", {"Variables": as_body(whole), "Remove": ["GONE", "V0"]})
    shown = host.output(["gear", "env", "terminal"])
    host.run(["gear", "set-env", "--reset", "--env-file", "-", "filed"], stdin=shown)
    host.run(["tee", "/run/odd.env"], stdin=shown)
    host.gear("install", TOOLS, "filed-2", "--env-file", "/run/odd.env", "--start", "--", *WAIT)
    body = {"Image": TOOLS, "Command": WAIT, "Started": True, "Environment": {"Variables": as_body(whole)}}
    ask(host, "PUT", "/container/http?follow=true", body)
    for id in ("set", "put", "patched", "filed"):
        host.gear("install", TOOLS, f"reads-{id}", "--env-id", id, "--start", "--no-wait", "--", *WAIT)
    host.gear("start", *(f"reads-{id}" for id in ("set", "put", "patched", "filed")))
    for name in ("terminal", "http", "filed-2", *(f"reads-{id}" for id in ("set", "put", "patched", "filed"))):
        found = environment_of(host, name)
        same_values(found, whole, f"the environment of {name}")
        assert "GONE" not in found and not any(key.startswith("GEAR") for key in found)
    for id in ("terminal", "http", "set", "put", "patched", "filed", "filed-2"):
        (answer,) = json.loads(host.gear("env", "-o", "json", id).stdout)
        assert {row["Name"]: row["Value"] for row in answer["Variables"]} == whole, id
        assert host.output(["gear", "env", id]) == shown, id
        assert host.output(["curl", "-sS", f"http://localhost:43273/environment/{id}"]) == shown, id
    for id in ("set", "put", "patched", "filed"):
        host.gear("delete-env", id)


def test_what_an_environment_cannot_carry_is_refused(host: Shell) -> None:
    host.gear("set-env", "--reset", "before", "A=1")
    long = "x" * 32_769
    for words, says in (
        ((f"A={long}",), "longer than 32768 bytes"),
        (tuple(f"A{n}={long[:30_000]}" for n in range(4)), "102400 bytes"),
        (("A=\ufffe",), "cannot be carried"),
        (("LD_PRELOAD=a\nb",), "cannot have a value of several lines"),
        (("A.b=a\nb",), "cannot have a value of several lines"),
        (("1A=b",), "cannot name a variable"),
        (("A B=c",), "cannot name a variable"),
        (("é=1",), "cannot name a variable"),
        (("=1",), "cannot name a variable"),
    ):
        for way in (("set-env", "before"), ("set-env", "--reset", "before"), ("set-env", "localhost/before")):
            refused = host.gear(*way, *words, check=False)
            assert refused.returncode == 64 and says in refused.stderr, (way, words, refused)
    assert host.gear("env", "before").stdout == "A=1\n"
    host.gear("delete-env", "before")


@BOTH
def test_dangerous_names_act_on_the_gear_alone(host: Shell) -> None:
    """PATH, LD_PRELOAD, HOME and their like are the container's, and podman never sees them."""
    values = {"PATH": "/bin:/nowhere", "LD_PRELOAD": "/evil.so", "HOME": "/x", "CONTAINERS_CONF": "/x"}
    values |= {"http_proxy": "http://x", "NOTIFY_SOCKET": "/x", "GODEBUG": "x", "TMPDIR": "/nowhere", "IFS": "x"}
    host.gear("install", TOOLS, "danger", "--start", *(f"{name}={value}" for name, value in values.items()))
    same_values(environment_of(host, "danger"), values, "dangerous names")


# --- bytes that are no text


def test_bytes_that_are_no_text_are_refused_at_the_terminal(host: Shell) -> None:
    chance = random.Random(SEED)
    before = host.sh("find /var/lib/containers/units /var/lib/containers/env | sort").stdout
    places: list[tuple[bytes, ...]] = [
        (b"install", TOOLS.encode(), b"web", b"--", b"%s"), (b"install", TOOLS.encode(), b"web", b"A=%s"),
        (b"install", TOOLS.encode(), b"web", b"--label", b"a=%s"), (b"install", b"%s", b"web"),
        (b"install", TOOLS.encode(), b"web", b"-v", b"/%s"), (b"install", TOOLS.encode(), b"%s"),
        (b"set-env", b"web", b"A=%s"), (b"status", b"%s"),
        (b"install", TOOLS.encode(), b"localhost/web", b"--", b"%s"), (b"set-env", b"web", b"%s=1"),
        (b"set-env", b"localhost/web", b"A=%s"), (b"install", TOOLS.encode(), b"localhost/web", b"--slice", b"%s"),
    ]  # fmt: skip
    for words in places:
        odd = chance.randbytes(20).replace(b"\0", b"x") + b"\xff\xc0"
        argv = [b"gear", *(word.replace(b"%s", odd) for word in words)]
        done = host.run(["python3", "-c", SPAWN], stdin=spawned(argv), check=False)
        assert done.returncode == 64, (argv, done)
        assert "Error: " in done.stderr and "Traceback" not in done.stderr, (argv, done)
    assert host.sh("find /var/lib/containers/units /var/lib/containers/env | sort").stdout == before


# --- labels, paths, names


@BOTH
@pytest.mark.parametrize("way", ["terminal", "http"])
def test_labels(host: Shell, way: str) -> None:
    values = {f"odd.label/{n}": value for n, value in enumerate(strings(f"labels {way}", 250))}
    if way == "terminal":
        options = [word for name, value in values.items() for word in ("--label", f"{name}={value}")]
        host.run(["gear", "install", TOOLS, "odd", "--start", *options])
    else:
        ask(host, "PUT", "/container/odd?follow=true", {"Image": TOOLS, "Started": True, "Labels": values})
    inspected = json.loads(host.run([host.engine, "inspect", "ctr-odd"]).stdout)[0]["Config"]["Labels"]
    same_values(inspected, values, f"labels by {way}")


PATHS = ["a,b", "c:d", 'q"uote', "quo'te", "sp ace", "ünï ☃", ".dot", "..dots", "-dash", "--rm", "per%cent", "%n",
         "%2D", "dol$lar", "${HOME}", "back\\slash", "*?[a]", "tab\tx", "eq=ual", "semi;colon", "#hash", "&",
         "a" * 190]  # fmt: skip


@BOTH
def test_paths_of_mounts_and_volumes(host: Shell) -> None:
    """Each path on the host at the same path in the gear; a link on the host leads where it leads."""
    script = "import json, os, sys\nfor path in json.load(sys.stdin):\n os.makedirs(path, exist_ok=True)\n"
    script += " open(path + '/here', 'w').write(path)\n"
    host.run(["rm", "-rf", "/srv/odd"])
    host.run(["python3", "-c", script], stdin=json.dumps([f"/srv/odd/{name}" for name in PATHS]))
    host.run(["ln", "-s", "sp ace", "/srv/odd/link"])
    mounts = [{"Path": f"/srv/odd/{name}", "HostPath": f"/mnt/{name}"} for name in (*PATHS, "link")]
    kept = [{"Path": f"/kept/{name}"} for name in PATHS]
    body = {"Image": TOOLS, "Started": True, "VolumeConfig": {"VolumeMounts": mounts, "Volumes": kept}}
    ask(host, "PUT", "/container/odd?follow=true", body)

    def escaped(name: str) -> str:
        return name.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")

    items = [word for name in PATHS for word in ("-v", f"/srv/odd/{escaped(name)}:/mnt/{escaped(name)}:ro")]
    items += [word for name in PATHS for word in ("-v", f"/kept/{escaped(name)}")]
    host.gear("install", TOOLS, "odd-2", "--start", *items)
    for gear in ("odd", "odd-2"):
        names = [*PATHS, "link"] if gear == "odd" else PATHS
        inside = 'for d in "$@"; do cat "/mnt/$d/here" || exit; printf "\\0"; done'
        found = host.run([host.engine, "exec", f"ctr-{gear}", "sh", "-c", inside, "sh", *names]).stdout.split("\0")
        same(found[:-1], [f"/srv/odd/{'sp ace' if name == 'link' else name}" for name in names], "what is mounted")
        inside = 'for d in "$@"; do echo kept >"/kept/$d/new" || exit; done'
        host.run([host.engine, "exec", f"ctr-{gear}", "sh", "-c", inside, "sh", *PATHS])
        count = host.sh(f"find /var/lib/containers/data/od/{gear} -mindepth 2 -name new | wc -l").stdout
        assert int(count) == len(PATHS)
    host.run(["rm", "-rf", "/srv/odd"])


def test_a_mount_of_what_is_not_there_is_refused_before_anything_is_written(host: Shell) -> None:
    before = host.sh("find /var/lib/containers/units /var/lib/containers/ports | sort").stdout
    for item in ("/no/such/folder:/x", "/srv/\\,\\::/x:ro"):
        refused = host.gear("install", TOOLS, "odd", "--start", "-v", item, check=False)
        assert refused.returncode == 64 and "on the host to be seen at '/x'" in refused.stderr
    assert host.sh("find /var/lib/containers/units /var/lib/containers/ports | sort").stdout == before


@BOTH
def test_a_mount_that_has_gone_is_named_by_the_start_that_fails(host: Shell) -> None:
    host.run(["mkdir", "-p", "/srv/gone"])
    host.gear("install", TOOLS, "odd", "-v", "/srv/gone:/x")
    host.run(["rmdir", "/srv/gone"])
    failed = host.gear("start", "odd", check=False)
    assert failed.returncode == 1 and "the engine could not start it (status 125): " in failed.stderr
    assert "/srv/gone" in failed.stderr
    assert any("/srv/gone" in text for text in host.status("odd")["Advice"])


NAMES = ["a.b_c", "a.-_", "00", "y" * 64, "z" * 62 + "-.", "n.service", "Same", "same"]


def test_names_that_look_like_something_else(host: Shell) -> None:
    host.gear("install", TOOLS, *NAMES, "--start")
    names = host.run(["sh", "-c", 'for g in "$@"; do podman exec "ctr-$g" hostname || exit; done', "sh", *NAMES])
    assert names.stdout.split() == [name[:63].rstrip("-.") for name in NAMES]
    assert sorted(host.gear("list", "-q").stdout.split()) == sorted(NAMES)
    host.gear("stop", *NAMES)
    assert host.containers == []


# --- what it means


@BOTH
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


@BOTH
def test_set_env_acts_at_the_next_start(host: Shell) -> None:
    host.gear("install", TOOLS, "env", "--start", "A=1", "B=2")
    host.gear("set-env", "env", "B=3", "C=4", "--remove", "A")
    host.gear("restart", "env")
    raw = host.run([host.engine, "exec", "ctr-env", "env"]).stdout.splitlines()
    assert "B=3" in raw and "C=4" in raw and not any(line.startswith("A=") for line in raw)
    host.gear("install", TOOLS, "env", "--start", "B=5")
    raw = host.run([host.engine, "exec", "ctr-env", "env"]).stdout.splitlines()
    assert "B=5" in raw and "C=4" not in raw, "installed anew, a gear's own environment is replaced, and at once"


def test_a_shared_environment(host: Shell) -> None:
    host.gear("set-env", "shared", "--reset", "S=1")
    host.gear("install", TOOLS, "one", "two", "--start", "--env-id", "shared")
    for name in ("one", "two"):
        assert "S=1" in host.run([host.engine, "exec", f"ctr-{name}", "env"]).stdout
    host.gear("install", TOOLS, "one", "--env-id", "shared", "T=2")
    assert host.gear("env", "shared").stdout == "S=1\nT=2\n", "attaching does not wipe it"
    host.gear("delete", "--purge", "one")
    assert host.gear("env", "shared").stdout == "S=1\nT=2\n"


@BOTH
def test_a_volume_begins_with_what_the_image_has_there(host: Shell) -> None:
    host.gear("install", "geard/busybox-http-app", "filled", "--start", "-v", "/srv/www,/tmp,/nothing")
    assert host.inside("filled", "ls", "/srv/www/cgi-bin").stdout == "index.cgi\n"
    assert host.inside("filled", "stat", "-c", "%a %u", "/tmp").stdout == "1777 0\n"
    assert host.inside("filled", "ls", "/nothing").stdout == ""


@BOTH
def test_volumes_and_bind_mounts(host: Shell) -> None:
    host.sh("rm -rf /srv/ro /srv/rw && mkdir -p /srv/ro /srv/rw && echo there > /srv/ro/file && chmod 777 /srv/rw")
    host.gear("install", TOOLS, "disk", "--start", "-v", "/data,/srv/ro:/ro:ro,/srv/rw:/rw")

    def inside(script: str) -> subprocess.CompletedProcess[str]:
        return host.run([host.engine, "exec", "ctr-disk", "sh", "-c", script], check=False)

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
