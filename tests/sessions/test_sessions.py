"""Sessions through the agent, on a real unix socket; the engine runs the program on this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.fakes.host import make_host
from tests.fakes.terminal import Terminal, agent, terminal

from geard.cli.attaching import attach
from geard.daemon import server, sessions
from geard.exchange import (
    WINDOW,
    Errors,
    Exit,
    Failed,
    Input,
    InputEnd,
    Output,
    Session,
    Signal,
    Size,
    Taken,
    ToAsker,
)
from geard.failures import Failure, Full, Invalid, NotFound, PreconditionFailed, Unavailable
from geard.frames import PROTOCOL, encode
from geard.host.engine import ExecSpec
from geard.sessions.requests import ExecInContainer
from geard.transport.http import HttpTransport

WAIT = "while :; do sleep 0.02; done"


@pytest.fixture
def http(tmp_path: Path) -> Generator[Terminal]:
    """An agent with a gear `web` that runs, and one, `off`, that does not."""
    tmp_path.chmod(0o755)
    with terminal(tmp_path, "http") as gear:
        gear.ok("install", "geard/sample", "web", "--start")
        gear.ok("install", "geard/sample", "off")
        here(gear)
        yield gear


def here(gear: Terminal) -> None:
    def exec_argv(spec: ExecSpec) -> list[str]:
        assert spec.container == "ctr-web"
        return list(spec.command)

    gear.host.engine.exec_argv = exec_argv  # type: ignore[method-assign]
    gear.host.engine.exec_environment = lambda spec: {}  # type: ignore[method-assign]


def path(gear: Terminal) -> Path:
    return gear.host.folder / "geard.sock"


def opened(gear: Terminal, script: str, *, tty: bool = False) -> Talker:
    request = ExecInContainer(id="web", command=("sh", "-c", script), stdin=True, tty=tty, rows=30, columns=100)
    return Talker(HttpTransport(path(gear)).send(request))


class Talker:
    """A session held by hand."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.heard: list[ToAsker] = []

    def until(self, question: Callable[[], object], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not question():
            assert time.monotonic() < end, self.heard
            if not (heard := self.session.hear()):
                time.sleep(0.005)
            self.heard += heard

    def end(self) -> ToAsker:
        self.until(lambda: self.heard and isinstance(self.heard[-1], Exit | Failed))
        self.session.close()
        return self.heard[-1]

    @property
    def out(self) -> bytes:
        return b"".join(event.data for event in self.heard if isinstance(event, Output))

    @property
    def errors(self) -> bytes:
        return b"".join(event.data for event in self.heard if isinstance(event, Errors))

    @property
    def taken(self) -> int:
        return sum(event.count for event in self.heard if isinstance(event, Taken))


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def eventually(question: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, question
        time.sleep(0.01)


def test_input_output_errors_and_status_are_apart(http: Terminal) -> None:
    talk = opened(http, "cat; echo oops >&2; exit 7")
    talk.session.say(Input(b"\x00\xff\r\n"))
    talk.session.say(InputEnd())
    assert talk.end() == Exit(7)
    assert (talk.out, talk.errors) == (b"\x00\xff\r\n", b"oops\n")


def test_without_input_the_program_finds_its_end(http: Terminal) -> None:
    transport = HttpTransport(path(http))
    talk = Talker(transport.send(ExecInContainer(id="web", command=("cat",))))
    assert talk.end() == Exit(0)


@pytest.mark.parametrize(("script", "status"), [("true", 0), ("exit 255", 255), ("kill -KILL $$", 137)])
def test_the_status_is_the_programs(http: Terminal, script: str, status: int) -> None:
    assert opened(http, script).end() == Exit(status)


def files() -> tuple[BinaryIO, BinaryIO, BinaryIO]:
    return tempfile.TemporaryFile(), tempfile.TemporaryFile(), tempfile.TemporaryFile()


def test_ten_megabytes_both_ways(http: Terminal) -> None:
    given, out, errors = files()
    with given, out, errors:
        data = os.urandom(10 * 1024 * 1024)
        given.write(data)
        given.seek(0)
        request = ExecInContainer(id="web", command=("sh", "-c", "tee /dev/stderr"), stdin=True)
        session = HttpTransport(path(http)).send(request)
        fds = (given.fileno(), out.fileno(), errors.fileno())
        assert attach(session, stdin=True, tty=False, files=fds) == 0
        for each in (out, errors):
            each.seek(0)
            assert hashlib.sha256(each.read()).digest() == hashlib.sha256(data).digest()


def test_output_waits_for_its_reader(http: Terminal, tmp_path: Path) -> None:
    mark = tmp_path / "done"
    talk = opened(http, f"head -c 8000000 /dev/zero; touch {mark}")
    time.sleep(0.5)
    assert not mark.exists()
    assert talk.end() == Exit(0)
    assert len(talk.out) == 8_000_000
    assert mark.exists()


def test_input_waits_for_the_program_and_a_signal_does_not(http: Terminal) -> None:
    talk = opened(http, "trap 'exit 9' INT; echo ready; " + WAIT)
    talk.until(lambda: talk.out == b"ready\n")
    talk.session.say(Input(b"x" * WINDOW))
    talk.until(lambda: not talk.session.waiting)
    time.sleep(0.1)
    talk.heard += talk.session.hear()
    assert talk.taken <= 64 * 1024, "a pipe's fill, and no more"
    talk.session.say(Signal("INT"))
    assert talk.end() == Exit(9)


def test_more_input_than_is_allowed_ends_it(http: Terminal) -> None:
    talk = opened(http, "echo $$; exec sleep 1000")
    talk.until(lambda: talk.out)
    talk.session.say(Input(b"x" * (2 * WINDOW)))
    end = talk.end()
    assert isinstance(end, Failed)
    assert isinstance(end.failure, Invalid)
    eventually(lambda: gone(int(talk.out)))


def test_what_is_no_frame_ends_it(http: Terminal) -> None:
    talk = opened(http, "echo $$; exec sleep 1000")
    talk.until(lambda: talk.out)
    with socket.socket(fileno=os.dup(talk.session.fileno())) as line:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(Unavailable, match="broke"):
        talk.until(lambda: False)
    talk.session.close()
    eventually(lambda: gone(int(talk.out)))


def test_when_the_asker_vanishes_the_program_is_ended(http: Terminal, tmp_path: Path) -> None:
    talk = opened(http, f"trap 'touch {tmp_path}/told; exit' TERM; echo $$; {WAIT}")
    talk.until(lambda: talk.out)
    talk.session.close()
    eventually(lambda: gone(int(talk.out)))
    assert (tmp_path / "told").exists(), "it is asked first"


def test_a_terminal_has_a_size_and_follows(http: Terminal) -> None:
    talk = opened(http, "trap 'stty size' WINCH; stty size; " + WAIT, tty=True)
    talk.until(lambda: talk.out.strip() == b"30 100")
    talk.session.say(Size(40, 120))
    talk.until(lambda: talk.out.split() == [b"30", b"100", b"40", b"120"])
    talk.session.close()


def test_a_terminals_input_has_an_end(http: Terminal) -> None:
    talk = opened(http, "stty icanon; echo ready; tr a-z A-Z; test -t 0 && test -t 1 && test -t 2", tty=True)
    talk.until(lambda: b"ready" in talk.out)
    talk.session.say(Input(b"hello\n"))
    talk.session.say(InputEnd())
    assert talk.end() == Exit(0)
    assert b"HELLO" in talk.out
    assert talk.errors == b""


def test_refused_before_it_begins_it_is_an_answer_as_any_other(http: Terminal) -> None:
    def refused(kind: type[Failure], request: ExecInContainer) -> Failure:
        with pytest.raises(kind) as refusal:
            HttpTransport(path(http)).send(request)
        return refusal.value

    true = ("true",)
    refused(NotFound, ExecInContainer(id="nosuch", command=true))
    off = refused(PreconditionFailed, ExecInContainer(id="off", command=true))
    assert (off.message, off.hint) == ("off is not running", "gear start off")
    refused(Invalid, ExecInContainer(id="web", command=()))
    refused(Invalid, ExecInContainer(id="web", command=true, rows=0))
    refused(Invalid, ExecInContainer(id="web", command=true, environment={"a b": ""}))
    refused(Invalid, ExecInContainer(id="web", command=("a\0b",)))


def raw(gear: Terminal, head: str, body: bytes = b'{"Command": ["true"]}') -> str:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(path(gear)))
        line.sendall(f"{head}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        found = b""
        while b"\r\n\r\n" not in found:
            found += line.recv(4096)
        return found.decode()


def test_it_has_to_be_asked_for_as_an_upgrade(http: Terminal) -> None:
    told = raw(http, "POST /container/web/exec HTTP/1.1")
    assert told.startswith("HTTP/1.1 426 ")
    assert f"Upgrade: {PROTOCOL}" in told
    assert raw(http, f"GET /container/web/exec HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}").startswith(
        "HTTP/1.1 405 "
    )
    upgrade = f"POST /container/web/exec HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {PROTOCOL}"
    opened = raw(http, upgrade + "\r\nX-Request-Id: AAAAAAAAAAAAAAAAAAAAAA")
    assert opened.startswith("HTTP/1.1 101 ")
    assert "X-Request-Id: AAAAAAAAAAAAAAAAAAAAAA" in opened
    assert "Content-Length" not in opened and "Transfer-Encoding" not in opened
    assert raw(http, upgrade + "\r\nOrigin: http://evil.example").startswith("HTTP/1.1 403 ")
    assert raw(http, upgrade + "\r\nX-Request-Id: bad").startswith("HTTP/1.1 400 ")
    assert raw(http, upgrade, b'{"Comand": ["true"]}').startswith("HTTP/1.1 400 ")


def test_an_answer_and_what_follows_it_may_come_at_once(http: Terminal) -> None:
    body = json.dumps({"Command": ["sh", "-c", "cat"], "Stdin": True}).encode()
    head = f"POST /container/web/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n"
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(path(http)))
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        found = line.recv(4096)
        assert found.startswith(b"HTTP/1.1 101 ") and found.endswith(b"\r\n\r\n")
        for byte in encode(Input(b"one")) + encode(InputEnd()):
            line.sendall(bytes([byte]))
        found = b""
        while encode(Exit(0)) not in found:
            found += line.recv(4096)
        assert encode(Output(b"one")) in found


def test_only_so_many_at_once(http: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS", 1)
    first = opened(http, "cat")
    with pytest.raises(Full):
        opened(http, "cat")
    first.session.say(InputEnd())
    assert first.end() == Exit(0)
    eventually(lambda: _opens(http))


def _opens(gear: Terminal) -> bool:
    try:
        return opened(gear, "true").end() == Exit(0)
    except Full:
        return False


def test_the_journal_is_told_who_and_which_program_and_no_secret(
    http: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geard.daemon")
    assert opened(http, "exit 3 # secret").end() == Exit(3)
    eventually(lambda: "ended with 3" in caplog.text)
    (asked,) = [line for line in caplog.messages if "/exec" in line]
    assert "uid 0 (root), unix socket: POST /container/web/exec ('sh')" in asked
    assert asked.endswith(" 101")
    assert "secret" not in caplog.text


def test_an_agent_that_stops_ends_its_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GOODBYE_SECONDS", 0.5)
    tmp_path.chmod(0o755)
    host = make_host(tmp_path)
    with terminal(tmp_path, "local", host) as gear:
        gear.ok("install", "geard/sample", "web", "--start")
    here(gear)
    with agent(host, tmp_path):
        talks = [opened(gear, f"{trap}echo $$; {WAIT}") for trap in ("", "trap '' TERM HUP; ")]
        talks[0].until(lambda: talks[0].out)
        talks[1].until(lambda: talks[1].out)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    for talk in talks:
        assert gone(int(talk.out))
        talk.session.close()
