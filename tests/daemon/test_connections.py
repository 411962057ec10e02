"""Connections that keep to no manners: what they are told, when they are cut off, that others do not notice."""

from __future__ import annotations

import http.client
import json
import logging
import os
import resource
import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from unittest import mock

import pytest
from tests.daemon.belfry import RunningAgent, belfry, running_agent
from tests.daemon.test_api import eventually
from tests.daemon.test_loopback import NOBODY, as_user, caller, needs_root

from geard.daemon import body, connections

HOST = b"Host: localhost\r\n"
GET = b"GET /bell/a HTTP/1.1\r\n" + HOST
PUT = b"PUT /bell/a HTTP/1.1\r\n" + HOST


@contextmanager
def line_to(agent: RunningAgent) -> Generator[socket.socket]:
    with socket.create_connection(("127.0.0.1", agent.port)) as line:
        line.settimeout(10)
        yield line


def rest(line: socket.socket) -> bytes:
    """All that comes until the agent ends the connection; a reset, or silence, fails the test."""
    found = b""
    while more := line.recv(65536):
        found += more
    return found


def statuses(answers: bytes) -> list[int]:
    return [int(each.split(b" ")[0]) for each in answers.split(b"HTTP/1.1 ")[1:]]


def told(answer: bytes) -> dict[str, str]:
    found: dict[str, str] = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert {"Kind", "Message", "RequestId"} <= found.keys()
    return found


UNREADABLE = {
    "a target without a path": b"GET bell/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a small method": b"get /bell/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "one length twice": PUT + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": PUT + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a list of lengths": PUT + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": PUT + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": PUT + b"Content-Length: 0x2\r\n\r\n{}",
    "a length of 23 digits": PUT + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "a length and chunks": PUT + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": PUT + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "a coding that is none": PUT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks that are not last": PUT + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "two codings": PUT + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a blank before a colon": PUT + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunks ended by LF": PUT + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    "a chunk below none": PUT + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk of 0x2": PUT + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer": PUT + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
    "a thousand trailers": PUT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    "lines ended by LF": b"GET /bell/a HTTP/1.1\nHost: localhost\n\n",
    "a CR in a header": GET + b"X: a\rY: b\r\n\r\n",
    "a folded header": GET + b"X: a\r\n b\r\n\r\n",
    "NUL in a header": GET + b"X: a\0b\r\n\r\n",
    "NUL in a target": b"GET /bell/a\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a blank in a header's name": GET + b"X Y: b\r\n\r\n",
    "no host": b"GET /bell/a HTTP/1.1\r\n\r\n",
    "two hosts": GET + HOST + b"\r\n",
    "a hundred headers": GET + b"X: y\r\n" * 100 + b"\r\n",
    "a header of 5 KB": GET + b"X: " + b"y" * 5000 + b"\r\n\r\n",
    "a target of 9 KB": b"GET /" + b"y" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + b"x" * 150,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "more after the last": GET + b"Connection: close\r\n\r\n" + GET + b"\r\n",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_in_one_way_is_not_read(agent: RunningAgent, text: bytes) -> None:
    with line_to(agent) as line:
        line.sendall(text)
        answer = rest(line)
    assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert told(answer)["Kind"] == "Invalid"
    assert agent.ask("GET", "/bell/a").text == "a rang 0 times\n"


def test_a_flood_of_them_is_no_flood_in_the_journal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    unreadable = connections.Unreadable()
    with mock.patch.object(time, "monotonic", side_effect=[10 + number / 400 for number in range(1000)]):
        for _ in range(1000):
            unreadable.tell("nonsense")
    told = [record.getMessage() for record in caplog.records]
    assert told == ["this is no HTTP: nonsense", *["this is no HTTP: nonsense, and 399 more"] * 2]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /bell/a HTTP/1.0\r\n" + HOST, 200),
        (b"GET http://localhost/bell/a HTTP/1.1\r\n" + HOST, 200),
        (b"GET http://LOCALHOST HTTP/1.1\r\n" + HOST, 404),
        (b"GET http://evil.example/bell/a HTTP/1.1\r\n" + HOST, 400),
        (b"GET http://evil.example/bell/a HTTP/1.1\r\nHost: evil.example\r\n", 403),
        (b"GET http://localhost/bell/a HTTP/1.1\r\nHost: evil.example\r\n", 400),
        (b"GET http://localhost@evil.example/bell/a HTTP/1.1\r\n" + HOST, 400),
        (b"CONNECT localhost:22 HTTP/1.1\r\n" + HOST, 404),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST, 404),
        (b"TRACE /bell/a HTTP/1.1\r\n" + HOST, 405),
        (b"GET /bell/../bell/a HTTP/1.1\r\n" + HOST, 404),
        (b"GET /bell/%2e%2e/bell/a HTTP/1.1\r\n" + HOST, 404),
        (b"GET /bell%2fa HTTP/1.1\r\n" + HOST, 404),
        (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n", 200),
        (b"GET /bell/a HTTP/2.0\r\n" + HOST, 505),
        (b"GET /bell/a\r\n", 505),
    ],
)
def test_odd_heads(agent: RunningAgent, head: bytes, status: int) -> None:
    with line_to(agent) as line:
        line.sendall(head + b"\r\n")
        assert int(line.recv(65536).split()[1]) == status


def test_pipelined_requests_are_answered_in_order(agent: RunningAgent) -> None:
    with line_to(agent) as line:
        line.sendall((PUT + b"Content-Length: 2\r\n\r\n{}") * 100 + GET + b"Connection: close\r\n\r\n")
        answers = rest(line)
    assert statuses(answers) == [200] * 101
    rung = [int(each.split(b" rang ")[1].split()[0]) for each in answers.split(b"HTTP/1.1 ")[1:]]
    assert rung == [*range(1, 101), 100]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"PUT /" + b"y" * 9000 + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 8000000\r\n\r\n", 400),
        (PUT + b"Content-Length: 8000000\r\n\r\n", 413),
        (PUT + b"Transfer-Encoding: chunked\r\n\r\n7a1200\r\n", 413),
        (PUT + b"Accept: image/png\r\nContent-Length: 8000000\r\n\r\n", 406),
        (b"PUT /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 8000000\r\n\r\n", 404),
    ],
    ids=lambda head: head[-60:].decode() if isinstance(head, bytes) else str(head),
)
def test_who_is_refused_by_his_head_can_send_it_all_and_read_why(
    agent: RunningAgent, head: bytes, status: int
) -> None:
    """Nothing is reset under a client that writes first and reads then, as many do."""
    with line_to(agent) as line:
        line.sendall(head)
        for _ in range(80):
            line.sendall(b" " * 100_000)
            time.sleep(0.001)
        answer = line.recv(65536)
    assert int(answer.split()[1]) == status
    assert told(answer)["Message"]


def test_a_stranger_with_a_large_body_can_read_why_as_well(agent: RunningAgent) -> None:
    if os.geteuid() != 0:
        pytest.skip("becomes another user: needs root")
    answers, tell = os.pipe()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10)
        connection.request("PUT", "/bell/a", b" " * 4_000_000)
        os.write(tell, str(connection.getresponse().status).encode())

    with as_user(NOBODY, ask, stay=False):
        assert os.read(answers, 10) == b"403"
    os.close(answers)
    os.close(tell)


def until_cut_off(line: socket.socket, byte: bytes = b"a") -> float:
    """Send a byte now and then; after how many seconds it is no longer taken."""
    begun = time.monotonic()
    line.settimeout(0.02)
    with suppress(ConnectionError):
        while time.monotonic() - begun < 10:
            line.send(byte)
            with suppress(TimeoutError):
                if line.recv(65536) == b"":
                    break
    return time.monotonic() - begun


def takes(line: socket.socket, text: bytes) -> bool:
    """Whether the other end of the connection is there still."""
    try:
        line.send(text)
    except ConnectionError:
        return False
    except TimeoutError:
        pass
    return True


@pytest.fixture
def brisk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[RunningAgent]:
    """An agent whose patience is short."""
    for name, seconds in (("KEEP_ALIVE", 0.5), ("STRANGER", 0.2), ("LINGER", 0.3), ("STALL", 0.5)):
        monkeypatch.setattr(connections, f"{name}_SECONDS", seconds)
    monkeypatch.setattr(body, "BODY_SECONDS", 0.5)
    belfry.rung.clear()
    belfry.go_on.clear()
    tmp_path.chmod(0o755)
    with running_agent(tmp_path) as found:
        yield found


@pytest.mark.parametrize("begun", [b"", b"G", b"GET /bell/a HTTP/1.1\r\nHost: localhost\r\nX-"])
def test_a_head_by_the_byte_is_cut_off(brisk: RunningAgent, begun: bytes) -> None:
    with line_to(brisk) as line:
        line.sendall(begun)
        if begun:
            assert until_cut_off(line) < 9
        else:
            assert rest(line) == b""  # silence


def test_a_body_by_the_byte_is_told_so_and_cut_off(brisk: RunningAgent) -> None:
    with line_to(brisk) as line:
        line.sendall(PUT + b"Content-Length: 100000\r\n\r\n{")
        answer = line.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert told(answer)["Kind"] == "Invalid"
        assert until_cut_off(line) < 9
    assert belfry.rung["a"] == 0


def test_chunks_by_the_byte_as_well(brisk: RunningAgent) -> None:
    with line_to(brisk) as line:
        line.sendall(PUT + b"Transfer-Encoding: chunked\r\n\r\n2;")
        assert until_cut_off(line) < 9


def test_a_kept_connection_that_falls_silent_is_ended(brisk: RunningAgent) -> None:
    with line_to(brisk) as line:
        line.sendall(GET + b"\r\n")
        assert statuses(rest(line)) == [200]


def test_who_asks_and_never_reads_is_let_go(brisk: RunningAgent, caplog: pytest.LogCaptureFixture) -> None:
    """And what is kept for him meanwhile is bounded: his next question waits until he has read an answer."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", brisk.port))
        line.settimeout(0.2)
        with suppress(TimeoutError, ConnectionError):
            for _ in range(20_000):
                line.sendall((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 100)
        assert brisk.ask("GET", "/bell/a").status == 200
        line.settimeout(0.02)
        assert eventually(lambda: not takes(line, b"x"))


def test_slow_ones_cost_nobody_else_anything(brisk: RunningAgent) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(line_to(brisk)) for _ in range(100)]
        for number, line in enumerate(slow):
            line.sendall((GET, PUT + b"Content-Length: 9\r\n\r\n", b"", b"PU")[number % 4])
        for _ in range(50):
            assert brisk.ask("PUT", "/bell/b", tcp=True).status == 200
            for line in slow[1::4]:
                with suppress(OSError):
                    line.send(b" ")


@pytest.mark.parametrize("leave", ["end", "half", "reset"])
def test_leaving_amid_a_question_is_no_bug(
    agent: RunningAgent, leave: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At any byte of it; half: nothing more is sent, and the answer is waited for."""
    text = PUT + b"Content-Length: 12\r\n\r\n" + b'{"Times": 1}'
    for length in range(1, len(text), 3):
        with line_to(agent) as line:
            line.sendall(text[:length])
            if leave == "half":
                line.shutdown(socket.SHUT_WR)
                with suppress(ConnectionError):
                    assert b" 200 " not in rest(line)
            elif leave == "reset":
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert agent.ask("GET", "/bell/a").text == "a rang 0 times\n"
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_one_connection_too_many_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS", 3)
    with running_agent(tmp_path) as agent, ExitStack() as stack:
        kept = [stack.enter_context(line_to(agent)) for _ in range(3)]
        for line in kept:
            line.sendall(GET + b"\r\n")
            assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        for _ in range(5):
            with line_to(agent) as line:
                line.sendall(PUT + b"Content-Length: 1000000\r\n\r\n" + b" " * 100_000)
                answer = rest(line)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 1\r\n" in answer
            assert told(answer)["Kind"] == "Full"
        kept[0].sendall(GET + b"\r\n")
        assert kept[0].recv(65536).startswith(b"HTTP/1.1 200 ")
        kept[1].close()
        assert eventually(lambda: agent.ask("GET", "/bell/a").status == 200)


def test_there_are_fewer_where_few_files_may_be_open() -> None:
    for files, expected in ((1024, 512), (16384, 4096), (resource.RLIM_INFINITY, 4096)):
        with mock.patch.object(resource, "getrlimit", return_value=(files, files)):
            assert connections.bound() == expected


@needs_root
def test_strangers_leave_room_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may connect to loopback. Of those who will be refused a few are kept at a time, and not for long."""
    monkeypatch.setattr(connections, "CONNECTIONS", 20)
    monkeypatch.setattr(connections, "STRANGERS", 4)
    monkeypatch.setattr(connections, "STRANGER_SECONDS", 0.5)
    tmp_path.chmod(0o755)
    with running_agent(tmp_path) as agent:

        def crowd() -> None:
            for _ in range(100):
                caller(("127.0.0.1", agent.port))()

        with as_user(NOBODY, crowd):
            for _ in range(10):
                assert agent.ask("PUT", "/bell/a", tcp=True).status == 200
            time.sleep(0.7)
            answers, tell = os.pipe()

            def ask() -> None:
                with socket.create_connection(("127.0.0.1", agent.port)) as line:
                    line.sendall(PUT + b"\r\n")
                    os.write(tell, line.recv(12))

            with as_user(NOBODY, ask, stay=False):
                assert os.read(answers, 12) == b"HTTP/1.1 403"
