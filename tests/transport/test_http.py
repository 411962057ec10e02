"""Our own client against the real agent, and against things that are none."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.daemon.belfry import (
    Bell,
    Bells,
    GetBell,
    HearBell,
    ListBells,
    RemoveBell,
    RingBell,
    RunningAgent,
    belfry,
)

from geard.failures import Conflict, Failure, Invalid, NotFound, TimedOut, Unavailable
from geard.identifiers import Place, new_request_id
from geard.transport import Transport, http
from geard.transport.http import HttpTransport


def test_the_same_over_both_doors(agent: RunningAgent) -> None:
    doors: list[Path | Place] = [agent.socket, Place("localhost", agent.port), Place("[::1]", agent.port)]
    for number, at in enumerate(doors, 1):
        transport: Transport = HttpTransport(at)
        assert transport.send(RingBell(id="a.b")) == Bell(id="a.b", rung=number)
        assert transport.send(GetBell(id="a.b")) == Bell(id="a.b", rung=number)
        assert transport.send(ListBells()) == Bells(bells=(Bell(id="big"),))
        assert [stroke.line for stroke in transport.send(HearBell(id="a"))] == ["ding", "", "dong"]
        assert transport.send(GetBell(id="a.b")).rung == number


def test_following_tells_each_step_and_raises_the_failure_at_the_end(agent: RunningAgent) -> None:
    transport, told = HttpTransport(agent.socket), list[str]()
    transport.send(RingBell(id="a", times=2), follow=lambda step: told.append(step.text()))
    assert told == ["a rang 1 times", "stroke 0", "stroke 1"], "the answer, then each step"
    with pytest.raises(Unavailable, match="the rope broke") as failed:
        transport.send(RingBell(id="a", fail="later"), follow=lambda step: told.append(step.text()))
    assert failed.value.hint == "mend it"
    transport.send(RemoveBell(id="a"), follow=lambda step: None)
    transport.close()


def test_failures_come_back_as_they_were(agent: RunningAgent) -> None:
    transport = HttpTransport(agent.socket)
    with pytest.raises(Conflict) as conflict:
        transport.send(RingBell(id="a", fail="at once"))
    assert (conflict.value.message, conflict.value.hint) == ("a is being cleaned", "come back later")
    assert conflict.value.data == [1]
    with pytest.raises(NotFound):
        transport.send(GetBell(id="none"))
    with pytest.raises(NotFound):
        transport.send(HearBell(id="none"))
    with pytest.raises(Invalid):
        transport.send(ListBells(all=True))


def test_a_given_id_is_used_once_and_the_next_follow_from_it(agent: RunningAgent) -> None:
    id = new_request_id()
    for _ in range(2):
        transport = HttpTransport(agent.socket, id)
        assert transport.send(RingBell(id="a")).rung == 1
        assert transport.send(RingBell(id="b")).rung == 1
    with pytest.raises(Conflict):
        HttpTransport(agent.socket, id).send(RingBell(id="c"))


def test_an_endless_stream_is_closed_from_this_side(agent: RunningAgent) -> None:
    stream = HttpTransport(agent.socket).send(HearBell(id="a", endless=True))
    assert [next(stream).line for _ in range(4)] == ["ding", "", "dong", "…"]
    stream.close()


def test_a_kept_connection_that_has_ended_is_made_again(agent: RunningAgent) -> None:
    transport = HttpTransport(agent.socket)
    transport.send(RingBell(id="a"))
    assert transport._connection is not None  # pyright: ignore[reportPrivateUsage]
    transport._connection.sock.shutdown(socket.SHUT_RDWR)  # pyright: ignore[reportPrivateUsage]
    assert transport.send(RingBell(id="a")).rung == 2


@contextmanager
def stand_in(path: Path, *answers: bytes) -> Generator[list[bytes], None, None]:
    """Something at `path` that gives each connection one of the answers and hangs up."""
    heard = list[bytes]()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as lines:
                    head = b"".join(iter(lines.readline, b"\r\n"))
                    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
                    heard.append(head + lines.read(length))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join(10)
        assert not thread.is_alive()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
ANSWER = b'{"Answer":{"Id":"a","Rung":1}}\n'


def step(message: str) -> bytes:
    return b'{"Progress":{"Message":"%s"}}\n' % message.encode()


def test_a_broken_report_is_joined_again_and_told_once(tmp_path: Path) -> None:
    told = list[str]()
    first = HEAD + ANSWER + step("one") + b"{}\n" + step("two")
    second = HEAD + ANSWER + step("one") + step("two") + step("three") + b'{"Done":true}\n'
    with stand_in(tmp_path / "s", first, second) as heard:
        bell = HttpTransport(tmp_path / "s").send(RingBell(id="a"), follow=lambda step: told.append(step.text()))
    assert bell == Bell(id="a", rung=1)
    assert told == ["a rang 1 times", "one", "two", "three"]
    assert heard[0] == heard[1]  # the same request, id and all


@pytest.mark.parametrize(
    ("answers", "kind", "message"),
    [
        ([b"", b""], Unavailable, "broke"),
        ([HEAD + ANSWER, HEAD + ANSWER], Unavailable, "broke"),
        ([b"SSH-2.0-OpenSSH_9\r\n"] * 2, Unavailable, "broke"),
        ([HEAD + b"<html>\n"], Unavailable, "no geard agent"),
        ([HEAD + b'{"Answer":{"Id":1}}\n'], Unavailable, "cannot understand"),
        ([b"HTTP/1.1 502 Bad\r\nContent-Length: 9\r\n\r\nnot\nhere."], Unavailable, "answers 502: not"),
        ([b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n[]"], Unavailable, "answers 404"),
        ([b'HTTP/1.1 400 No\r\n\r\n{"Kind":"Newest","Message":"newer"}'], Failure, "newer"),
    ],
)
def test_what_is_no_agent(tmp_path: Path, answers: list[bytes], kind: type[Failure], message: str) -> None:
    with stand_in(tmp_path / "s", *answers), pytest.raises(kind, match=message):
        HttpTransport(tmp_path / "s").send(RingBell(id="a"))


def test_keys_of_a_newer_agent_are_left_out(tmp_path: Path) -> None:
    with stand_in(tmp_path / "s", HEAD + b'{"Answer":{"Id":"a","Rung":1,"Pitch":2}}\n{"Done":true}\n'):
        assert HttpTransport(tmp_path / "s").send(RingBell(id="a")) == Bell(id="a", rung=1)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no agent answers at") as failed:
        HttpTransport(tmp_path / "none").send(GetBell(id="a"))
    assert "geard.socket" in failed.value.hint
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match=f"no agent answers at 127.0.0.1:{port}"):
        HttpTransport(Place("127.0.0.1", port)).send(GetBell(id="a"))


def test_an_agent_that_falls_silent(agent: RunningAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SILENCE_SECONDS", 0.1)
    with pytest.raises(TimedOut, match="silent") as failed:
        HttpTransport(agent.socket).send(RingBell(id="a", hold=True), follow=lambda step: None)
    assert "the request goes on" in failed.value.hint
    belfry.go_on.set()


def test_it_loads_nothing_of_the_agent() -> None:
    code = "import sys, geard.transport.http; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"aiohttp", "asyncio", "geard.host", "geard.daemon", "geard.dispatch"} & set(loaded)
