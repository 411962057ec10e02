"""A job's main process, with programs of this machine in the engine's place."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from geard.jobs.output import ERRORS, OUTPUT, records

START = """
import sys
from geard.jobs import program, supervising
supervising.RUN, supervising.HOST_READY = sys.argv[1], sys.argv[1]
supervising.image_is_here = lambda order: True
supervising.LINGER_SECONDS = 1.0
program.EXITS = sys.argv[1]
sys.exit(supervising.main("x1"))
"""
Make = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def job(tmp_path: Path) -> Generator[Make]:
    begun: list[subprocess.Popen[bytes]] = []

    def run(script: str, **more: Any) -> subprocess.Popen[bytes]:
        order: dict[str, Any] = {
            "Id": "x1", "Folder": str(tmp_path / "kept"), "Container": "job-x1", "Engine": "podman", "Image": "a",
            "Argv": ["/bin/sh", "-c", script], "Leaves": False, "Kill": ["/bin/sh", "-c", "kill -$0 $1"],
            "AskOom": ["/bin/false"], "Environment": {}, "Stdin": False, "Tty": False, "Grace": 0.5,
            "Slice": "", "Link": [], "TimeLimit": 0, "Keep": 1 << 20, "Artifacts": None, "Rows": 24, "Columns": 80,
        }  # fmt: skip
        (tmp_path / "kept").mkdir()
        (tmp_path / "x1").mkdir()
        (tmp_path / "x1" / "order").write_text(json.dumps(order | more))
        program = [sys.executable, "-c", START, str(tmp_path)]
        begun.append(subprocess.Popen(program, env={**os.environ, "PYTHONPATH": "src"}))
        return begun[-1]

    yield run
    for each in begun:
        each.kill()
        each.wait()


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "kept" / "result").read_text())
    return found


Attach = Callable[[Path], socket.socket]


@pytest.fixture
def attached() -> Generator[Attach]:
    with ExitStack() as closing:
        yield lambda folder: closing.enter_context(_attached(folder))


def _attached(folder: Path) -> socket.socket:
    end = time.monotonic() + 20
    while not (folder / "x1" / "attach").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(20)
    line.connect(str(folder / "x1" / "attach"))
    return line


def say(line: socket.socket, kind: str, body: bytes = b"") -> None:
    line.sendall(struct.pack(">BI", ord(kind), len(body)) + body)


def hear(line: socket.socket) -> tuple[str, bytes]:
    head = line.recv(5, socket.MSG_WAITALL)
    kind, length = struct.unpack(">BI", head)
    return chr(kind), line.recv(length, socket.MSG_WAITALL) if length else b""


def until(line: socket.socket, kind: str) -> bytes:
    while True:
        heard, body = hear(line)
        if heard == kind:
            return body


def written(folder: Path) -> bytes:
    return b"".join(each.data for each in records(str(folder / "kept")))


def test_output_and_status(job: Make, tmp_path: Path) -> None:
    assert job("echo out; echo err >&2; exit 7").wait(30) == 7
    found = [(each.kind, each.data) for each in records(str(tmp_path / "kept"))]
    assert sorted(found) == [(OUTPUT, b"out\n"), (ERRORS, b"err\n")]
    told = result(tmp_path)
    assert (told["Status"], told["Reason"], told["Output"]) == (7, "", 8)


def test_a_program_that_is_killed(job: Make, tmp_path: Path) -> None:
    assert job("kill -KILL $$").wait(30) == 137


LEAVES = "(echo from the program; {program}) & echo $! >{state}/pid; ({conmon}) & echo $! >{state}/conmon"


def test_where_the_engine_leaves_conmons_status_counts(job: Make, tmp_path: Path) -> None:
    script = LEAVES.format(program="exit 3", conmon="sleep 0.5; exit 7", state=tmp_path / "x1")
    assert job(script, Leaves=True).wait(30) == 7
    assert written(tmp_path) == b"from the program\n"


def test_what_conmon_has_written_down_is_enough(job: Make, tmp_path: Path) -> None:
    script = LEAVES.format(program="sleep 0.5", conmon="sleep 1000", state=tmp_path / "x1")
    script = f"echo c1 >{tmp_path}/x1/cid; echo 5 >{tmp_path}/c1; {script}"
    assert job(script, Leaves=True).wait(30) == 5
    assert result(tmp_path)["Status"] == 5


def test_an_engine_that_fails(job: Make, tmp_path: Path) -> None:
    assert job("echo no such image >&2; exit 125", Leaves=True).wait(30) == 125
    assert result(tmp_path)["Reason"] == "not started"
    assert written(tmp_path) == b"no such image\n"


def test_no_such_engine(job: Make, tmp_path: Path) -> None:
    assert job("", Argv=["/nosuch/podman"]).wait(30) == 125
    assert result(tmp_path)["Reason"] == "not started"


def test_input_is_counted_and_ends(job: Make, attached: Attach, tmp_path: Path) -> None:
    running = job("cat; echo end", Stdin=True)
    line = attached(tmp_path)
    say(line, "h", b'{"Driver": true}')
    say(line, "i", b"hello\n")
    assert struct.unpack(">I", until(line, "t")) == (6,)
    say(line, "e")
    until(line, "x")
    assert running.wait(30) == 0
    assert written(tmp_path) == b"hello\nend\n"


def test_who_drives_holds_it_back_and_who_looks_on_does_not(job: Make, attached: Attach, tmp_path: Path) -> None:
    job("read go; head -c 3000000 /dev/zero", Stdin=True)
    driver = attached(tmp_path)
    say(driver, "h", b'{"Driver": true}')
    looker = attached(tmp_path)
    say(looker, "h", b"{}")
    say(driver, "i", b"go\n")
    until(driver, "n")
    time.sleep(0.5)
    kept = sum(path.stat().st_size for path in (tmp_path / "kept").iterdir())
    assert kept < 400_000, "it waits for who drives it"
    driver.close()
    until(looker, "x")
    assert result(tmp_path)["Output"] == 3_000_000


def test_time_limit_then_kill(job: Make, tmp_path: Path) -> None:
    order = {"TimeLimit": 0.3, "Kill": ["/bin/sh", "-c", f"kill -$0 $(cat {tmp_path}/program)"]}
    assert job(f"echo $$ >{tmp_path}/program; trap '' TERM; while :; do sleep 0.05; done", **order).wait(30) == 137
    assert result(tmp_path)["Reason"] == "time limit"


def test_canceled_by_somebody(job: Make, attached: Attach, tmp_path: Path) -> None:
    kill = ["/bin/sh", "-c", f"kill -$0 $(cat {tmp_path}/program)"]
    running = job(f"echo $$ >{tmp_path}/program; exec sleep 1000", Kill=kill)
    line = attached(tmp_path)
    while not (tmp_path / "program").exists() or not (tmp_path / "program").read_text():
        time.sleep(0.02)
    (tmp_path / "x1" / "cancel").write_text('{"By": "root"}')
    running.send_signal(signal.SIGTERM)
    until(line, "x")
    assert running.wait(30) == 143
    assert result(tmp_path)["Message"] == "canceled by root"


def test_too_many_artifacts(job: Make, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    order = {
        "Artifacts": {"Folder": str(tmp_path / "out"), "Path": "/out", "Most": 100_000},
        "Kill": ["/bin/sh", "-c", f"kill -$0 $(cat {tmp_path}/program)"],
    }
    script = f"echo $$ >{tmp_path}/program; head -c 200000 /dev/zero >{tmp_path}/out/f; exec sleep 1000"
    assert job(script, **order).wait(30) == 143
    assert result(tmp_path)["Reason"] == "artifacts"


def test_nonsense_on_the_line_ends_only_that(job: Make, attached: Attach, tmp_path: Path) -> None:
    running = job("read go", Stdin=True)
    bad = attached(tmp_path)
    bad.sendall(b"z" + b"\xff" * 100)
    assert bad.recv(10) == b""
    for kind, body in (("h", b"no json"), ("h", b"[]"), ("w", b"1"), ("p", b"")):
        other = attached(tmp_path)
        say(other, kind, body)
        assert other.recv(10) == b""
    good = attached(tmp_path)
    say(good, "i", b"go\n")
    until(good, "x")
    assert running.wait(30) == 0
