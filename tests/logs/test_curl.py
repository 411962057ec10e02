"""`curl …/container/ID/log`, as the README has it: an agent on sockets of its own, curl as it comes."""

from __future__ import annotations

import json
import shutil
import time
from datetime import timedelta

import pytest
from tests.logs.agents import Agent
from tests.logs.writing import REMOTE

from geard.logs import wanted
from geard.logs.requests import FollowLog
from geard.transport.http import HttpTransport

pytest.importorskip("systemd.journal", reason="python3-systemd is not installed")
pytestmark = [
    pytest.mark.skipif(REMOTE is None, reason="systemd-journal-remote is not installed"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


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
