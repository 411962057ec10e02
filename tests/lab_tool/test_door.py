"""A command run through the door cannot tell that it was, and neither can its caller."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import door


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "door"
    with subprocess.Popen([sys.executable, "-I", "-S", door.__file__, str(path)]) as server:
        while not path.exists():
            assert server.poll() is None
            time.sleep(0.01)
        yield path
        server.terminate()


def run(socket: Path, *command: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    """Run a command with files for its three streams."""
    places = [socket.with_name(name) for name in ("in", "out", "err")]
    places[0].write_bytes(stdin)
    with places[0].open("rb") as source, places[1].open("wb") as out, places[2].open("wb") as err:
        status = door.run(socket, command, (source.fileno(), out.fileno(), err.fileno()), timeout=20)
    return status, places[1].read_bytes(), places[2].read_bytes()


def test_streams_and_exit_status_pass_through(socket: Path) -> None:
    assert run(socket, "sh", "-c", "cat; echo no >&2; exit 7", stdin=b"\0\xff\r\n") == (
        7,
        b"\0\xff\r\n",
        b"no\n",
    )


def test_a_long_command_arrives_whole(socket: Path) -> None:
    words = [f"{number}-\N{SNOWMAN}" for number in range(20_000)]
    _, out, _ = run(socket, "printf", "%s\n", *words)
    assert out.decode().split() == words


def test_death_by_a_signal_is_told_as_a_shell_does(socket: Path) -> None:
    assert run(socket, "sh", "-c", "kill -KILL $$")[0] == 128 + 9


@pytest.mark.parametrize(("command", "status"), [("no-such-program", 127), ("/", 126)])
def test_what_cannot_be_run(socket: Path, command: str, status: int) -> None:
    assert run(socket, command)[0] == status


def test_a_command_ends_with_its_caller(socket: Path) -> None:
    pid_file = socket.with_name("pid")
    with pytest.raises(TimeoutError):
        door.run(socket, ["sh", "-c", f"echo $$ >{pid_file}; sleep 600"], timeout=0.5)
    process = int(pid_file.read_text())
    end = time.monotonic() + 5
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nobody_behind_the_door(tmp_path: Path) -> None:
    with Path(os.devnull).open("rb") as nothing, pytest.raises(door.DoorClosed):
        door.run(tmp_path / "door", ["true"], (nothing.fileno(),) * 3)
