"""The host's sftp-server in a gear, as far as it needs no gear: what is lent, and what a client is told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from geard.host.engine import ExecSpec
from geard.host.engine.podman import Podman
from geard.sessions import sftp, sftp_server

INIT = b"\0\0\0\5\1\0\0\0\3"
VERSION = b"\0\0\0\5\2\0\0\0\3"
REALPATH = b"\0\0\0\x0a\x10\0\0\0\x07\0\0\0\1."


def run(files: Sequence[str], *engine: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-IS", str(Path(sftp.__file__)), str(len(files)), *files, *engine]
    return subprocess.run(words, input=given, capture_output=True, timeout=60, check=False)


def test_a_program_runs_by_what_was_lent_alone() -> None:
    """Its loader and its libraries are found by their descriptors; files of those names are not asked."""
    files = sftp_server.needed(["/nosuch", "/bin/cat"])
    assert files[1] == "/bin/cat" and len(files) > 2
    done = run(files, *sftp_server.command(len(files)), "/proc/self/maps", "-", given=b"\xff")
    assert (done.returncode, done.stdout[-1:], done.stderr) == (0, b"\xff", b"")
    mapped = {line.split()[-1] for line in done.stdout[:-1].decode().splitlines() if "r-xp" in line}
    assert not [path for path in mapped if path.startswith(("/usr", "/lib", "/bin"))], mapped


def test_what_is_lent_cannot_be_changed_and_nothing_else_is_open() -> None:
    script = "ls -l /proc/self/fd; for fd in 3 4; do echo x >>/proc/self/fd/$fd || echo refused; done"
    done = run(["/bin/true", "/bin/false"], "sh", "-c", script)
    open_files = [line.rpartition(" -> ")[2] for line in done.stdout.decode().splitlines() if "memfd" in line]
    assert open_files == ["/memfd:errors (deleted)", "/memfd:true (deleted)", "/memfd:false (deleted)"]
    assert done.stdout.endswith(b"refused\nrefused\n")


def test_the_gear_hears_nothing_of_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sftp.LABEL, "system_u:object_r:container_file_t:s0:c1,c2")
    assert run(["/bin/true"], "sh", "-c", f"echo ${{{sftp.LABEL}-none}}").stdout == b"none\n"


def test_no_program_where_there_is_none(tmp_path: Path) -> None:
    text = tmp_path / "script"
    text.write_text("#!/bin/sh\n")
    text.chmod(0o755)
    assert sftp_server.needed(["/nosuch", str(text)]) == ()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'No user found for uid 7' >&2; exit 1", b"gear: its image has no /etc/passwd"),
        ("echo 'gear: this gear has no sftp-server' >&2; exit 127", b"gear: this gear has no sftp-server"),
        ("exit 1", b"gear: its image has no /etc/passwd"),
        ("exit 125", b"gear: no sftp-server could be started in this gear"),
        ("dd bs=9 count=1 2>/dev/null >&2; echo broken >&2; exit 126", b"gear: broken"),
    ],
)
def test_a_refusal_is_said_in_sftp(script: str, told: bytes) -> None:
    done = run([], "sh", "-c", script, given=INIT + REALPATH + REALPATH)
    assert done.stdout.startswith(VERSION)
    assert done.stdout.count(b"\x65\0\0\0\x07\0\0\0\4") == 2 == done.stdout.count(told)


def test_what_has_begun_ends_as_it_ends() -> None:
    for script, status in (("exit 0", 0), ("exit 255", 255), ("kill -KILL $$", 137)):
        done = run([], "sh", "-c", f"echo answer; {script}", given=INIT)
        assert (done.returncode, done.stdout) == (status, b"answer\n")


def test_much_that_is_said_of_failure_takes_no_memory() -> None:
    done = run([], "sh", "-c", "yes >&2; exit 255")
    assert done.returncode == 255 and len(done.stderr) <= 16 * 1024


def test_nothing_that_is_no_packet_is_answered() -> None:
    for given in (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x09\1", os.urandom(3)):
        assert run([], "sh", "-c", "exit 125", given=given).stdout == VERSION


def test_how_podman_is_told() -> None:
    spec = ExecSpec("ctr-web", sftp_server.command(3), stdin=True, env_names=("LD_PRELOAD",), files=3)
    assert Podman().exec_argv(spec)[2:] == [
        *("exec", "--interactive", "--env", "LD_PRELOAD", "--preserve-fds=3", "--", "ctr-web"),
        *("/proc/self/fd/3", "--inhibit-cache", "--preload", "/proc/self/fd/5", "/proc/self/fd/4"),
    ]
