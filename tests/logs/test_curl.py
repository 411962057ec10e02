"""`curl …/container/ID/log`, as the README has it: an agent on sockets of its own, curl as it comes."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from tests.logs.writing import REMOTE, Writer

from geard.daemon import server
from geard.daemon.notify import Notifier
from geard.host import Host
from geard.host.journal import Journal
from geard.host.paths import Paths
from geard.logs import wanted
from geard.logs.requests import FollowLog
from geard.transport.http import HttpTransport

pytest.importorskip("systemd.journal", reason="python3-systemd is not installed")
pytestmark = [
    pytest.mark.skipif(REMOTE is None, reason="systemd-journal-remote is not installed"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


@dataclass
class Agent:
    socket: Path
    writer: Writer

    def curl(self, target: str, *more: str) -> subprocess.Popen[str]:
        argv = ["curl", "--silent", "--no-buffer", "--unix-socket", str(self.socket), *more]
        return subprocess.Popen([*argv, f"http://localhost{target}"], stdout=subprocess.PIPE, text=True)

    def told(self, target: str, *more: str) -> str:
        return self.curl(target, *more).communicate(timeout=20)[0]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    tmp_path.chmod(0o755)
    (tmp_path / "journal").mkdir()
    unit = tmp_path / "units" / "we" / "ctr-web.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    writer = Writer(tmp_path / "journal")
    for number in range(1, 16):
        writer.write(f"line {number}")
    writer.settle()
    host = SimpleNamespace(paths=Paths(tmp_path, tmp_path / "run"), journal=Journal(writer.folder))
    sockets = server.bound_sockets(server.Listen(tmp_path / "geard.sock", 0))
    loop, stop, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    class Heard(Notifier):
        def say(self, state: str, *fds: int) -> None:
            up.set()

    def be_agent() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(server.run(cast(Host, host), sockets, stop, Heard()))

    thread = threading.Thread(target=be_agent, name="agent")
    thread.start()
    assert up.wait(10)
    yield Agent(tmp_path / "geard.sock", writer)
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    writer.end()
    assert not thread.is_alive()
    assert host.journal.readers == 0


def messages(text: str) -> list[str]:
    return [line.split(": ", 1)[1] for line in text.splitlines()]


def test_plain_curl_shows_the_last_lines_follows_and_ends_by_itself(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanted, "USUAL", timedelta(seconds=1))
    started = time.monotonic()
    curl = agent.curl("/container/web/log", "--write-out", "STATUS: %{http_code}")
    assert curl.stdout is not None
    first = curl.stdout.readline()
    assert time.monotonic() - started < 0.9, "the first line does not wait for the end"
    assert first == "2023-11-14T22:13:26.000000+00:00 nginx[7]: line 6\n"
    agent.writer.write("line 16")
    rest = curl.stdout.read()  # not communicate(): it would pass over what readline has read ahead
    curl.stdout.close()
    curl.wait(20)
    assert messages(first + rest) == [*(f"line {number}" for number in range(6, 17)), "200"]
    assert 0.9 < time.monotonic() - started < 5


def test_the_query_says_otherwise(agent: Agent) -> None:
    assert messages(agent.told("/container/web/log?lines=2&follow=false")) == ["line 14", "line 15"]
    assert messages(agent.told("/container/web/log?UNTIL=2023-11-14T22:13:22Z&since=@1700000001")) == [
        "line 1",
        "line 2",
    ]
    assert messages(agent.told("/container/web/log?Timeout=0&Lines=1")) == ["line 15"]


def test_what_is_wrong_has_a_status(agent: Agent) -> None:
    status = ("--output", "/dev/null", "--write-out", "%{http_code}")
    assert agent.told("/container/nix/log", *status) == "404"
    assert agent.told("/container/web/log?since=soon", *status) == "400"
    assert agent.told("/container/web/log?after=nowhere", *status) == "400"
    assert "Lines" in json.loads(agent.told("/container/web/log?line=1"))["Hint"]


def test_over_the_wire_it_is_the_same_request(agent: Agent) -> None:
    stream = HttpTransport(agent.socket).send(FollowLog(id="web", follow=True, lines="3"))
    lines = [next(stream) for _ in range(3)]
    agent.writer.write("line 16")
    lines.append(next(stream))
    stream.close()
    assert [line.message for line in lines] == [f"line {number}" for number in range(13, 17)]
    again = HttpTransport(agent.socket).send(FollowLog(id="web", timeout="0", after=lines[1].cursor))
    assert [line.message for line in again] == ["line 15", "line 16"]
