"""The door of a virtual machine carries what a command reads, writes and ends with."""

import multiprocessing
import os
import socket
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from lab import door, relay

TOKEN = "secret"


def inner(path: str) -> None:
    door.serve(path)


def far(door_path: str, listener: socket.socket) -> None:
    relay.serve(listener, lambda connection: relay.obey(connection, Path(door_path), TOKEN))


def near(path: str, port: int, token: str) -> None:
    relay.PORT = port
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        relay.serve(listener, lambda caller: relay.carry(caller, "127.0.0.1", token))


@pytest.fixture(params=[TOKEN, "another"])
def outer(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[tuple[Path, str]]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    context = multiprocessing.get_context("fork")
    paths = [str(tmp_path / name) for name in ("inner", "outer")]
    ends = [
        context.Process(target=inner, args=(paths[0],)),
        context.Process(target=far, args=(paths[0], listener)),
        context.Process(target=near, args=(paths[1], port, request.param)),
    ]
    for end in ends:
        end.start()
    listener.close()
    for path in paths:
        awaited(Path(path))
    yield Path(paths[1]), request.param
    for end in ends:
        end.kill()
        end.join()


def test_a_command_through_both_doors(outer: tuple[Path, str]) -> None:
    path, token = outer
    script = "cat; echo err >&2; sleep 30 & exit 7"
    given = os.urandom(300_000)
    with (
        open(os.memfd_create("in"), "w+b") as stdin,
        open(os.memfd_create("out"), "w+b") as out,
        open(os.memfd_create("err"), "w+b") as err,
    ):
        stdin.write(given)
        stdin.seek(0)
        files = (stdin.fileno(), out.fileno(), err.fileno())
        if token != TOKEN:
            with pytest.raises(door.DoorClosed):
                door.run(path, ["sh", "-c", script], files, timeout=60)
            return
        assert door.run(path, ["sh", "-c", script], files, timeout=60) == 7, "though a child of its holds stdout"
        out.seek(0)
        err.seek(0)
        assert (out.read(), err.read()) == (given, b"err\n")
        assert door.run(path, ["sh", "-c", "kill -9 $$"], files, timeout=60) == 137


@pytest.mark.parametrize("outer", [TOKEN], indirect=True)
def test_a_command_whose_caller_leaves_ends_in_its_own_way(outer: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = outer
    began, ended = tmp_path / "began", tmp_path / "ended"
    script = f"trap 'echo bye; echo bye >&2; touch {ended}; exit' TERM; touch {began}; while :; do sleep 0.1; done"
    reading, writing = os.pipe()
    with open(os.devnull, "w+b") as nothing:
        caller = multiprocessing.get_context("fork").Process(
            target=door.run, args=(path, ["sh", "-c", script], (nothing.fileno(), writing, writing))
        )
        caller.start()
        awaited(began)
        os.close(reading)
        caller.kill()
        caller.join()
    os.close(writing)
    awaited(ended)


def awaited(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
