"""The keeper, around a program of its own and around one that has left its podman, as conmon has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from geard.host import keeper
from geard.host.paths import Paths
from geard.sessions import listing

FILE = str(Path(keeper.__file__))
QUICK = f"""
import sys
sys.path.insert(0, {str(Path(FILE).parent)!r})
import keeper
keeper.GRACE = 0.3
sys.exit(keeper.main(sys.argv[1:]))
"""


def kept(*argv: str, quick: bool = False, **options: str) -> subprocess.Popen[bytes]:
    how = ["-c", QUICK] if quick else ["-IS", FILE]
    pipe = subprocess.PIPE
    env = {**os.environ, **options}
    return subprocess.Popen([sys.executable, *how, *argv], stdin=pipe, stdout=pipe, stderr=pipe, env=env)


def line(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().decode().strip()


def eventually(question: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, question
        time.sleep(0.01)


def nobody_reads(child: subprocess.Popen[bytes]) -> None:
    """What is written for the program to read comes to be refused."""
    assert child.stdin is not None
    written_to = child.stdin.fileno()

    def refused() -> bool:
        try:
            os.write(written_to, b"x")
        except BrokenPipeError:
            return True
        return False

    eventually(refused)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("exit 0", 0)])
def test_its_exit_status_is_the_programs(script: str, status: int) -> None:
    child = kept("sh", "-c", f"cat; echo oops >&2; {script}")
    assert child.communicate(b"in", timeout=10) == (b"in", b"oops\n")
    assert child.returncode == status


def test_no_such_program() -> None:
    child = kept("/nowhere/podman")
    assert b"not installed" in child.communicate(timeout=10)[1]
    assert child.returncode == 125


def test_a_reader_that_stops_is_seen_by_the_writer() -> None:
    child = kept("sh", "-c", "exec <&-; echo shut; exec sleep 1000")
    assert line(child) == "shut"
    nobody_reads(child)  # the keeper lets go of it a moment after it has started the program
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=10)


def test_the_environments_text_is_a_file_for_the_program() -> None:
    child = kept("sh", "-c", "cat /proc/self/fd/3; echo ${GEARD_ENV_FILE-none}", GEARD_ENV_FILE="A=1\nB=2\n")
    assert child.communicate(timeout=10)[0] == b"A=1\nB=2\nnone\n"


@pytest.mark.parametrize("name", ["INT", "QUIT", "TERM", "USR1"])
def test_signals_are_passed_on(name: str) -> None:
    child = kept("sh", "-c", f"trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.02; done")
    assert line(child) == "ready"
    child.send_signal(signal.Signals[f"SIG{name}"])
    assert child.communicate(timeout=10)[0] == b"got\n"
    assert child.returncode == 9


def test_the_program_has_the_usual_dispositions() -> None:
    child = kept("sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status")
    values = [word.split()[1] for word in child.communicate(timeout=10)[0].decode().splitlines()]
    own = 1 << 31 | 1 << 32  # glibc's own, which posix_spawn(3) leaves ignored
    assert [int(value, 16) & ~own for value in values] == [0, 0]


def test_when_the_asker_is_gone_the_program_is_ended() -> None:
    child = kept("sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.02; done")
    assert line(child) == "ready"
    child.send_signal(signal.SIGHUP)
    assert child.communicate(timeout=10)[0] == b"bye\n"


def test_one_that_does_not_listen_is_killed() -> None:
    child = kept("sh", "-c", "trap '' TERM HUP; echo $$; while :; do sleep 0.02; done", quick=True)
    program = int(line(child))
    began = time.monotonic()
    child.send_signal(signal.SIGHUP)
    child.communicate(timeout=10)
    assert time.monotonic() - began > 0.25
    assert gone(program)


def test_asked_twice_it_does_not_wait() -> None:
    child = kept("sh", "-c", "trap '' TERM HUP; echo $$; while :; do sleep 0.02; done")
    program, began = int(line(child)), time.monotonic()
    child.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    child.send_signal(signal.SIGHUP)
    child.communicate(timeout=10)
    assert time.monotonic() - began < keeper.GRACE - 1
    assert gone(program)


@pytest.fixture
def podman(tmp_path: Path) -> str:
    """What podman and conmon do, as far as it matters: the program is conmon's child, and conmon nobody's."""
    conmon, client = tmp_path / "conmon", tmp_path / "podman"
    conmon.write_text(f'#!/bin/sh\nsetsid "$@" &\nwait $!\necho $? >{tmp_path}/status.new\n')
    conmon.write_text(conmon.read_text() + f"mv {tmp_path}/status.new {tmp_path}/status\n")
    client.write_text(
        f'#!/bin/sh\n(setsid {conmon} "$@" </dev/null &)\ntrap "" INT TERM\n'
        f"while ! [ -e {tmp_path}/status ]; do sleep 0.02; done\nexit $(cat {tmp_path}/status)\n"
    )
    conmon.chmod(0o755)
    client.chmod(0o755)
    return str(client)


def test_what_podman_has_started_is_found_and_told(podman: str) -> None:
    # TERM: a shell starts what goes on behind it with INT ignored, as conmon does not.
    child = kept(podman, "sh", "-c", "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.02; done")
    assert line(child) == "ready"
    child.send_signal(signal.SIGTERM)
    assert child.communicate(timeout=10)[0] == b"got\n"
    assert child.returncode == 9


def test_what_podman_has_started_is_ended_with_its_asker(podman: str) -> None:
    child = kept(podman, "sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.02; done", quick=True)
    program = int(line(child))
    child.send_signal(signal.SIGHUP)
    child.communicate(timeout=10)
    assert gone(program)


def test_what_podman_leaves_behind_is_ended(podman: str) -> None:
    child = kept(podman, "sh", "-c", "echo $$; exec sleep 1000", quick=True)
    program = int(line(child))
    (client,) = (
        int(pid)
        for pid in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        if Path(f"/proc/{pid}/comm").read_text() == "podman\n"
    )
    os.kill(client, signal.SIGKILL)
    child.communicate(timeout=10)
    assert child.returncode == 137
    eventually(lambda: gone(program))


def test_a_session_is_listed_while_it_lasts_and_by_its_lock(tmp_path: Path) -> None:
    paths = Paths(run=tmp_path)
    note = listing.note(paths, {"Gear": "web", "By": "me", "Source": "", "Program": "cat", "Tty": "no"})
    child = kept("cat", GEARD_SESSION=note["GEARD_SESSION"])
    eventually(lambda: listing.opened(paths))
    (found,) = listing.opened(paths)
    assert (found.session, found.id, found.by, found.program, found.tty) == (child.pid, "web", "me", "cat", False)
    assert (tmp_path / "sessions" / str(child.pid)).stat().st_mode & 0o777 == 0o600
    child.communicate(b"x", timeout=10)
    assert listing.opened(paths) == [] and os.listdir(tmp_path / "sessions") == []
    killed = kept("cat", GEARD_SESSION=note["GEARD_SESSION"])
    eventually(lambda: listing.opened(paths))
    killed.kill()
    killed.communicate()
    assert os.listdir(tmp_path / "sessions") == [str(killed.pid)]
    assert listing.opened(paths) == [] and os.listdir(tmp_path / "sessions") == [], "it goes when it is seen"


def test_a_session_that_cannot_be_listed_is_one_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("no folder")
    child = kept("echo", "here", GEARD_SESSION=f"{tmp_path}/sessions\n{{}}")
    out, err = child.communicate(timeout=10)
    assert (out, child.returncode) == (b"here\n", 0) and b"not listed" in err


@pytest.fixture
def reading(tmp_path: Path) -> str:
    """What they do with input: conmon has a pipe to the program, and shuts it when podman's own has ended; others
    it closes just as somebody looks for that one.
    """
    client = tmp_path / "podman"
    client.write_text(f"""#!{sys.executable} -IS
import os, select, socket, subprocess, sys
command = sys.argv[sys.argv.index("--") + 2 :]
ends, hears = os.pipe()
done, tells = (each.detach() for each in socket.socketpair())
if os.fork() == 0:
    if os.fork() == 0:
        os.close(done), os.close(hears)
        open("/proc/self/comm", "w").write("conmon")
        early = subprocess.Popen(["sleep", "0.3"])
        while early.poll() is None:
            for number in [os.dup(ends) for _ in range(100)]:
                os.close(number)
        given, ours = os.pipe()
        program = subprocess.Popen(command, stdin=given)
        os.close(given)
        while program.poll() is None and not select.select([ends], [], [], 0.02)[0]:
            pass
        os.close(ours)
        program.wait()
        os.write(tells, b"%d" % program.returncode)
    os._exit(0)
os.close(tells), os.close(ends), os.wait()
if os.fork() == 0:
    os.close(done)
    got = os.read(0, 99)
    os.write(1, b"podman has " + got if got else b"")
    os._exit(0)
os.close(hears)
sys.exit(int(os.read(done, 9)))
""")
    client.chmod(0o755)
    return str(client)


def test_input_goes_past_podman_and_its_end_does_not(reading: str) -> None:
    child = kept(reading, "--", "ctr-web", "sh", "-c", "sleep 0.3; wc -c; exit 4", GEARD_FEED="conmon")
    assert child.communicate(b"x" * 1_000_000, timeout=30) == (b"1000000\n", b"")
    assert child.returncode == 4


def test_no_input_is_an_end_as_well(reading: str) -> None:
    child = kept(reading, "--", "ctr-web", "cat", GEARD_FEED="conmon")
    assert child.communicate(b"", timeout=30) == (b"", b"")


def test_a_program_may_leave_its_input_unread(reading: str) -> None:
    child = kept(reading, "--", "ctr-web", "sh", "-c", "exec <&-; echo shut; exec sleep 1", GEARD_FEED="conmon")
    assert line(child) == "shut"
    nobody_reads(child)
    child.communicate(timeout=30)
    assert child.returncode == 0
