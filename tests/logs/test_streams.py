"""Streams over real sockets: resumed, told as server-sent events, not read at all, and read by a thousand."""

from __future__ import annotations

import json
import resource
import select
import selectors
import shutil
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from tests.logs.agents import Agent, made_agent
from tests.logs.writing import REMOTE

from geard.cli.resuming import resumed
from geard.daemon import writing
from geard.logs.requests import FollowLog, LogLine
from geard.request import Stream
from geard.transport.http import HttpTransport

pytest.importorskip("systemd.journal", reason="python3-systemd is not installed")
pytestmark = [
    pytest.mark.skipif(REMOTE is None, reason="systemd-journal-remote is not installed"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

LOG = "/container/web/log"
NDJSON = ("--header", "Accept: application/x-ndjson")
SSE = ("--header", "Accept: text/event-stream")


def items(text: str) -> list[dict[str, Any]]:
    return [event["Item"] for event in map(json.loads, text.splitlines()) if "Item" in event]


def messages(text: str) -> list[str]:
    return [item["Message"] for item in items(text)]


def lines(first: int, last: int) -> list[str]:
    return [f"line {number}" for number in range(first, last + 1)]


def test_a_stream_goes_on_behind_the_cursor_of_an_item(agent: Agent) -> None:
    found = items(agent.told(f"{LOG}?follow=false&lines=all", *NDJSON))
    third, twelfth = found[2]["Cursor"], found[11]["Cursor"]
    assert messages(agent.told(f"{LOG}?follow=false&cursor={third}", *NDJSON)) == lines(4, 15)
    came_back = ("--header", f"Last-Event-ID: {twelfth}")
    assert messages(agent.told(f"{LOG}?follow=false", *NDJSON, *came_back)) == lines(13, 15)
    # a browser comes back to the address it asked at first
    assert messages(agent.told(f"{LOG}?follow=false&cursor={third}", *NDJSON, *came_back)) == lines(13, 15)
    plain = agent.told(f"{LOG}?follow=false&cursor={twelfth}")
    assert [line.partition(": ")[2] for line in plain.splitlines()] == lines(13, 15)


@pytest.mark.parametrize("cursor", ["yesterday", "x" * 10_000, "s=1;i=2%00"])
def test_what_is_no_cursor_is_refused(agent: Agent, cursor: str) -> None:
    status = ("--output", "/dev/null", "--write-out", "%{http_code}")
    assert agent.told(f"{LOG}?follow=false&cursor={cursor}", *status) in ("400", "414")


def test_that_a_part_is_missing_is_told_first(agent: Agent) -> None:
    gone = items(agent.told(f"{LOG}?follow=false&lines=all", *NDJSON))[4]["Cursor"].replace("x=", "x=1")
    first, *others = items(agent.told(f"{LOG}?follow=false&cursor={gone}", *NDJSON))
    assert (first["Skipped"], first["Cursor"]) == (-1, "")
    assert "missing" in first["Message"]
    assert [item["Message"] for item in others] == lines(5, 15)
    assert "missing" in agent.told(f"{LOG}?follow=false&cursor={gone}").splitlines()[0]


def test_server_sent_events_have_ids_to_come_back_with(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BEAT_SECONDS", 0.05)
    curl = agent.curl(f"{LOG}?lines=2", *SSE, "--include")
    assert curl.stdout is not None
    head = "".join(iter(curl.stdout.readline, "\n"))
    assert "Content-Type: text/event-stream" in head
    told = [curl.stdout.readline() for _ in range(10)]
    curl.terminate()
    curl.communicate(timeout=10)
    assert told[1] == "event: message\n"
    assert told[3] == told[7] == "\n"
    assert json.loads(told[2].removeprefix("data: "))["Message"] == "line 14"
    assert told[8:] == [":\n", "\n"], "it follows without being told to, and a comment shows that it is there"
    came_back = ("--header", f"Last-Event-ID: {told[0].removeprefix('id: ').strip()}")
    rest = agent.told(f"{LOG}?follow=false", *SSE, *came_back)
    assert [line.partition(" ")[2] for line in rest.splitlines() if line.startswith("event")] == [
        "message",
        "done",
    ]
    assert '"Message":"line 15"' in rest


def test_an_answer_in_one_piece_is_no_event_stream(agent: Agent) -> None:
    status = ("--output", "/dev/null", "--write-out", "%{http_code}")
    assert agent.told("/containers", *SSE, *status) == "406"


def test_who_stops_reading_costs_little_holds_up_nobody_and_goes_on_where_it_was(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(writing, "STALL_SECONDS", 3.0)
    count, filling = 2_000, "x" * 50_000
    with ExitStack() as stack:
        brisk_one = stack.enter_context(asking(agent, f"{LOG}?follow=true&lines=0"))
        stuck = stack.enter_context(asking(agent, f"{LOG}?follow=true&lines=1"))
        first = b""
        while b'"line 15"' not in first:
            first += stuck.recv(100_000)
        before, seen = anonymous_memory(), bytearray()
        seen_all = threading.Thread(target=read_until, args=(brisk_one, seen, b'"end"'))
        seen_all.start()
        for number in range(count):
            agent.writer.write(f"{number:05} {filling}")
        agent.writer.write("end")
        seen_all.join(120)
        assert not seen_all.is_alive()
        grown = anonymous_memory() - before - len(seen)
        text = bytes(seen).partition(b"\r\n\r\n")[2]
        assert text.count(b'"Message":"') == count + 1
        assert grown < 40 << 20, f"100 MB were written, of which {grown >> 20} MB wait"
        cut_off = select.poll()
        cut_off.register(stuck, select.POLLRDHUP)
        assert cut_off.poll(60_000), "it is cut off at last"
        rest = bytearray(first)
        read_until(stuck, rest, b"never")  # what was on its way, to its end
    whole = [line for line in bytes(rest).split(b"\n") if line.startswith(b'{"Item"') and line.endswith(b"}}")]
    assert 0 < len(whole) < count / 2
    last = json.loads(whole[-1])["Item"]
    stream = HttpTransport(agent.socket).send(FollowLog(id="web", timeout="0", after=last["Cursor"]))
    followed = [line.message.partition(" ")[0] for line in stream]
    numbers = [json.loads(line)["Item"]["Message"].partition(" ")[0] for line in whole[1:]]
    assert numbers + followed == [*(f"{number:05}" for number in range(count)), "end"]


def asking(agent: Agent, target: str) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(60)
    line.connect(str(agent.socket))
    line.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n".encode())
    return line


def read_until(line: socket.socket, seen: bytearray, mark: bytes) -> None:
    try:
        while mark not in seen[-200_000:] and (data := line.recv(1 << 20)):
            seen += data
    except ConnectionError:
        pass


def anonymous_memory() -> int:
    """Bytes of this process that are no file's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) * 1_024


@pytest.fixture
def many_files() -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_followers_share_one_reader_and_an_install_is_answered_meanwhile(agent: Agent) -> None:
    count, said = 1_000, 20
    threads = {thread.name for thread in threading.enumerate()}
    with ExitStack() as stack, selectors.DefaultSelector() as ready:
        found = [bytearray() for _ in range(count)]
        for number in range(count):
            line = stack.enter_context(asking(agent, f"{LOG}?follow=true&lines=1"))
            line.setblocking(False)
            ready.register(line, selectors.EVENT_READ, found[number])
        pump(ready, lambda: all(b'"line 15"' in seen for seen in found))
        assert agent.host.journal.readers == 1
        new = {thread.name for thread in threading.enumerate()} - threads
        assert sum(name.startswith("journal reader") for name in new) == 1
        assert len(new) < 20, f"no thread for a follower: {new}"
        for number in range(said):
            agent.writer.write(f"said {number}")
        installs = [installed(agent, f"gear-{number}") for number in range(5)]
        assert installs == [b"HTTP/1.1 200 OK"] * 5
        pump(ready, lambda: all(b'"said 19"' in seen for seen in found))
    for seen in found:
        assert [seen.count(b'"said %d"' % number) for number in range(said)] == [1] * said


def pump(ready: selectors.BaseSelector, done: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        for key, _ in ready.select(0.1):
            key.data.extend(cast(socket.socket, key.fileobj).recv(1 << 18))


def installed(agent: Agent, name: str) -> bytes:
    body = b'{"Image":"geard/sample","Ports":[]}'
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        line.connect(str(agent.socket))
        line.sendall(
            f"PUT /container/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return line.recv(1_000).partition(b"\r\n")[0]


def test_a_follower_goes_on_over_a_restart_of_the_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with made_agent(tmp_path) as agent:

        def opened(after: str, since: str) -> Stream[LogLine]:
            return HttpTransport(agent.socket).send(
                FollowLog(id="web", follow=True, lines="" if after else "2", after=after, since=since)
            )

        with agent.running():
            following = resumed(opened, "h1")
            told = [next(following).message for _ in range(2)]
        agent.writer.write("line 16")  # while there is no agent
        with agent.running():
            told.append(next(following).message)
            agent.writer.write("line 17")
            told.append(next(following).message)
            following.close()
    assert told == lines(14, 17)
    assert "connected to h1 again" in capsys.readouterr().err
