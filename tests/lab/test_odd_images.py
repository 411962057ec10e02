"""Images that end at once, run as somebody, want a terminal, or hold what nobody expects: each runs as its maker
meant it, or is refused with the reason.
"""

from __future__ import annotations

import tarfile
from collections.abc import Generator

import pytest
from tests.lab.conftest import BOTH, Shell, eventually
from tests.lab.odd_images import File, OddImage, archive, bottom_layer

pytestmark = pytest.mark.lab

SLEEP = ["sleep", "3600"]
MANY = 3_000
ODD_WORDS = ["$HOME", "%n", "a\nb", "", '"', "\\", "ü", "--rm"]


def odd(name: str, *files: File, **config: object) -> OddImage:
    return OddImage(name, config, files)


def many_files() -> list[File]:
    """Thousands, of all sorts of owners; a few are set-user-id."""
    found = [File("srv/many", mode=0o755, kind=tarfile.DIRTYPE)]
    for n in range(MANY):
        owner = (n * 7919) % 65_536
        mode = (0o4755, 0o2755, 0o1777, 0o600)[n % 4]
        found.append(File(f"srv/many/{n}", b"%d" % owner, mode, owner, 65_535 - owner))
    return found


VOLUME = [
    File("srv/kept", mode=0o750, uid=1234, gid=1235, kind=tarfile.DIRTYPE),
    File("srv/kept/file", b"from the image\n", 0o640, 1234, 1235),
    File("srv/kept/.hidden", b"too\n", 0o600, 0, 0),
    File("srv/kept/tool", b"#!/bin/sh\n", 0o4755, 0, 0),
    File("srv/kept/under", mode=0o1777, uid=65_535, gid=1, kind=tarfile.DIRTYPE),
]

NET_BIND_SERVICE = "\x01\0\0\x02" + "\0\x04\0\0" + "\0" * 12
"""effective, version 2; permitted: capability 10 (linux/capability.h, struct vfs_cap_data)"""
SERVES_80 = ["/srv/busybox", "nc", "-ll", "-p", "80", "-e", "echo", "hi"]

IMAGES = (
    odd("ends-at-once", Cmd=["true"]),
    odd("no-command"),
    odd("interactive", Cmd=["sh", "-i"]),
    odd("wants-a-tty", Cmd=["sh", "-c", "test -t 0 || { echo no terminal here; exit 9; }"]),
    odd("by-name", Cmd=SLEEP, User="worker"),
    odd("by-number", Cmd=SLEEP, User="65535:4322"),
    odd("unknown-name", Cmd=SLEEP, User="stranger"),
    odd("too-high", Cmd=SLEEP, User="65536"),
    odd("named-too-high", Cmd=SLEEP, User="giant"),
    odd("many-files", *many_files(), Cmd=SLEEP),
    odd(
        "volume-with-files",
        *VOLUME,
        Cmd=SLEEP,
        Volumes={"/srv/kept": {}, "/a,b": {}, '/q"uote': {}, "/sp ace": {}},
    ),
    odd("odd-words", Cmd=["sh", "-c", "sleep 3600; true", "x", *ODD_WORDS]),
    odd("odd-ports", Cmd=SLEEP, ExposedPorts={"99999/tcp": {}}),
)


@pytest.fixture(scope="module")
def odd_images(h1: Shell, engine: str) -> Generator[None]:
    below = bottom_layer(h1.output(["podman", "save", "-q", "docker.io/geard/test-tools"]))
    busybox = File("srv/busybox", h1.output(["cat", "/bin/busybox"]), 0o755, capabilities=NET_BIND_SERVICE)
    images = (*IMAGES, odd("with-capabilities", busybox, Cmd=SERVES_80, User="worker"))
    for image in images:
        h1.run([engine, "load", "-q"], stdin=archive(image, below))
    yield
    h1.run([engine, "rmi", "-f", *(image.full_name for image in images)], check=False)


def start(host: Shell, name: str, *words: str) -> tuple[int, str]:
    """Exit code, and all that was said."""
    done = host.gear("install", f"odd/{name}", name, "--start", "--stop-timeout", "0", *words, check=False)
    return done.returncode, done.stdout + done.stderr


def inside(host: Shell, name: str, script: str) -> str:
    return host.run([host.engine, "exec", "-u", "0", f"ctr-{name}", "sh", "-c", script]).stdout


def advice(host: Shell, name: str) -> str:
    return "\n".join(host.status(name)["Advice"])


@BOTH
def test_one_that_ends_at_once(host: Shell, odd_images: None) -> None:
    code, said = start(host, "ends-at-once")
    assert code == 0, said
    eventually(lambda: "it is down: its program ended with status 0" in advice(host, "ends-at-once"))


@BOTH
def test_one_without_a_command(host: Shell, odd_images: None) -> None:
    code, said = start(host, "no-command")
    assert code == 64 and "names no program to run" in said and "-- PROGRAM" in said
    eventually(lambda: "it is not whole: odd/no-command names no program to run" in advice(host, "no-command"))
    assert start(host, "no-command", "--", *SLEEP)[0] == 0
    assert host.status("no-command")["ActiveState"] == "active"


@BOTH
def test_one_that_wants_a_terminal(host: Shell, odd_images: None) -> None:
    """It gets none: a service has nobody at the other end. What the program says to that is shown."""
    code, said = start(host, "wants-a-tty")
    assert code in (0, 1), said  # 0 on a machine that is slow to notice its end
    eventually(lambda: "its program ended with status 9" in advice(host, "wants-a-tty"))
    assert any("no terminal here" in line for line in host.status("wants-a-tty")["Log"])
    assert start(host, "interactive")[0] == 0
    eventually(lambda: "it is down: its program ended with status 0" in advice(host, "interactive"))


@BOTH
def test_users_by_name_and_number(host: Shell, odd_images: None) -> None:
    assert start(host, "by-name")[0] == start(host, "by-number")[0] == 0
    ids = "awk '/^[UG]id/ {print $2}' /proc/1/status"
    assert inside(host, "by-name", ids).split() == ["1234", "1235"]
    assert inside(host, "by-number", ids).split() == ["65535", "4322"]


@BOTH
def test_a_program_with_capabilities_of_its_file(host: Shell, odd_images: None) -> None:
    """It runs, with none of them, or (runc) those it is begun with; what they are mostly for, a port below 1024,
    it has.
    """
    assert start(host, "with-capabilities", "-p", "80:4100")[0] == 0
    file = host.sh("printf /proc/%s/root/srv/busybox $(cat /run/geard/gears/ctr-with-capabilities/pid)").stdout
    held = host.run(["python3", "-c", f"import os; print(os.getxattr({file!r}, 'security.capability').hex())"])
    assert held.stdout.strip().startswith("010000") and "000400" in held.stdout, "what this is about"
    eventually(lambda: "hi" in host.sh("nc -w 2 127.0.0.1 4100 </dev/null", check=False).stdout)
    effective = int(inside(host, "with-capabilities", "awk '/^CapEff/ {print $2}' /proc/1/status"), 16)
    assert effective in (0, 1 << 10) and (effective == 0 or host.engine == "docker")


@BOTH
def test_a_user_that_the_image_does_not_know(host: Shell, odd_images: None) -> None:
    code, said = start(host, "unknown-name")
    assert code == 1 and "unable to find user stranger" in said
    eventually(lambda: "unable to find user stranger" in advice(host, "unknown-name"))


def test_users_that_cannot_be(host: Shell, odd_images: None) -> None:
    code, said = start(host, "too-high")
    assert code == 64 and "runs as user 65536, and a gear's users and groups end at 65535" in said
    assert start(host, "too-high", "--simple")[0] == 0, "at once, while systemd still tries what was there before"
    code, said = start(host, "named-too-high")
    assert code == 1 and "it is to run as UID 70000, and a gear's ids end at 65535" in said


@BOTH
def test_files_of_all_owners(host: Shell, odd_images: None) -> None:
    assert start(host, "many-files")[0] == 0
    found = inside(host, "many-files", "cd /srv/many && stat -c '%n %u %g %a' *").splitlines()
    expected = {
        f"{file.path.removeprefix('srv/many/')} {file.uid} {file.gid} {file.mode:o}"
        for file in many_files()
        if file.kind == tarfile.REGTYPE
    }
    assert set(found) == expected and len(found) == MANY


@BOTH
def test_volumes_over_files(host: Shell, odd_images: None) -> None:
    """They are filled from the image, once: what the gear wrote stays, also over a re-install."""
    assert start(host, "volume-with-files")[0] == 0
    stat = "cd /srv/kept && stat -c '%n %u %g %a' . file .hidden tool under"
    expected = [". 1234 1235 750", "file 1234 1235 640", ".hidden 0 0 600", "tool 0 0 4755", "under 65535 1 1777"]
    assert inside(host, "volume-with-files", stat).splitlines() == expected
    inside(host, "volume-with-files", "echo mine >/srv/kept/file; rm /srv/kept/tool; touch /a,b/x '/q\"uote/x'")
    assert start(host, "volume-with-files", "--label", "v=2")[0] == 0
    assert inside(host, "volume-with-files", "cat /srv/kept/file; ls /srv/kept /a,b").split() == [
        "mine", *["/a,b:", "x", "/srv/kept:", "file", "under"],
    ]  # fmt: skip


@BOTH
def test_words_of_an_image(host: Shell, odd_images: None) -> None:
    assert start(host, "odd-words")[0] == 0
    words = inside(host, "odd-words", "cat /proc/1/cmdline").split("\0")[:-1]
    assert words[4:] == ODD_WORDS


def test_what_the_engine_refuses_is_told_in_its_words(host: Shell, odd_images: None) -> None:
    code, said = start(host, "odd-ports")
    assert code == 1 and "the engine could not start it (status 125): " in said and "99999" in said
