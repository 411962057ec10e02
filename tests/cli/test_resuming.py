"""A stream that is followed over breaks of its connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geard.cli import resuming
from geard.failures import Denied, Failure, NotFound, Unavailable
from geard.logs.requests import LogLine
from geard.request import Stream
from geard.transport import ConnectionBroken


class Scripted(Stream[LogLine]):
    def __init__(self, *steps: str | Failure) -> None:
        self._steps: Iterator[str | Failure] = iter(steps)
        self.closed = False

    def __next__(self) -> LogLine:
        step = next(self._steps)
        if isinstance(step, Failure):
            raise step
        return LogLine(
            time="2026-01-01T00:00:00+00:00", id="web", message=step, cursor=f"c-{step}" if step else ""
        )

    def close(self) -> None:
        self.closed = True


class Agent:
    def __init__(self, *opens: Scripted | Failure) -> None:
        self._opens = iter(opens)
        self.asked: list[tuple[str, str]] = []

    def open(self, after: str, since: str) -> Stream[LogLine]:
        self.asked.append((after, since))
        found = next(self._opens)
        if isinstance(found, Failure):
            raise found
        return found


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "PAUSES", (0.0,))


BROKEN = ConnectionBroken("the connection to h1 broke")
AWAY = Unavailable("no agent answers at h1")


def told(agent: Agent) -> list[str]:
    return [item.message for item in resuming.resumed(agent.open, "h1")]


def test_it_goes_on_behind_the_last_item(capsys: pytest.CaptureFixture[str]) -> None:
    first = Scripted("a", "b", "", BROKEN)
    agent = Agent(first, AWAY, AWAY, Scripted("c", BROKEN), Scripted("d"))
    assert told(agent) == ["a", "b", "", "c", "d"]
    assert [after for after, _ in agent.asked] == ["", "c-b", "c-b", "c-b", "c-c"]
    assert first.closed
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "the connection to h1 broke; connecting again",
        "connected to h1 again",
    ] * 2  # fmt: skip


def test_before_the_first_item_it_goes_on_from_when_it_began() -> None:
    agent = Agent(Scripted(BROKEN), Scripted("a"))
    assert told(agent) == ["a"]
    assert agent.asked[0] == ("", "")
    assert agent.asked[1][1].startswith("@")
    agent = Agent(BROKEN, Scripted("a"))
    assert told(agent) == ["a"], "it broke before it was answered"
    assert agent.asked[1][1].startswith("@")


def test_what_is_refused_or_was_never_there_is_not_asked_again() -> None:
    for opens in ([AWAY], [NotFound("no gear")], [Scripted("a", BROKEN), Denied("not you")]):
        with pytest.raises(Failure) as failed:
            told(Agent(*opens))
        assert failed.value is opens[-1]


def test_a_failure_that_the_agent_tells_is_no_break() -> None:
    told_by_agent = Unavailable("cannot read the journal")
    with pytest.raises(Unavailable) as failed:
        told(Agent(Scripted("a", told_by_agent)))
    assert failed.value is told_by_agent


def test_an_agent_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "GIVE_UP_SECONDS", 0.0)
    agent = Agent(Scripted("a", BROKEN), AWAY, AWAY, AWAY)
    with pytest.raises(Unavailable) as failed:
        told(agent)
    assert failed.value is AWAY
