"""Reports behind a cursor, and streams that take turns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.daemon.belfry import RunningAgent

from geard.daemon import writing
from geard.daemon.writing import Stall, Turns
from geard.identifiers import new_request_id

NDJSON = "application/x-ndjson"


def test_a_report_goes_on_behind_the_number_of_a_step(agent: RunningAgent) -> None:
    id = new_request_id()

    def told(query: str = "", last: str = "") -> list[dict[str, Any]]:
        target = f"/bell/a?follow=true{query}"
        return agent.ask("PUT", target, {"Times": 3}, Accept=NDJSON, X_Request_Id=id, Last_Event_ID=last).events

    answer, *steps, done = told()
    assert [step["Cursor"] for step in steps] == ["1", "2", "3"]
    assert told("&cursor=2") == told(last="2") == [answer, steps[2], done]
    assert told("&cursor=0") == [answer, *steps, done]
    assert told("&cursor=9") == [answer, done]
    for nonsense in ("-1", "x", "1e3", "9" * 40):
        reply = agent.ask("PUT", f"/bell/b?follow=true&cursor={nonsense}", {}, Accept=NDJSON)
        assert reply.status == 400, nonsense
    assert agent.ask("GET", "/bell/b").text == "b rang 0 times\n", "nothing is done for who is refused"


def test_a_report_as_server_sent_events(agent: RunningAgent) -> None:
    reply = agent.ask("PUT", "/bell/a?follow=true", {"Times": 1, "Fail": "later"}, Accept="text/event-stream")
    told = [block.split("\n") for block in reply.text.split("\n\n")]
    assert told[0][:2] == ["id: 0", "event: answer"]
    assert told[1][:2] == ["id: 1", "event: progress"]
    assert told[2][0] == "event: failure"
    assert '"Kind":"Unavailable"' in told[2][1]


async def test_streams_take_turns_with_everybody_else() -> None:
    turns, written = Turns(), 0

    async def stream() -> None:
        nonlocal written
        for _ in range(10):
            await turns.mine()
            written += 1

    streams = [asyncio.create_task(stream()) for _ in range(500)]
    most = before = 0
    while not all(task.done() for task in streams):
        await asyncio.sleep(0)
        most, before = max(most, written - before), written
    assert written == 5_000
    assert most <= 2 * writing.PARTS


async def test_who_leaves_while_waiting_takes_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PARTS", 1)
    turns, done = Turns(), list[int]()

    async def stream(number: int) -> None:
        await turns.mine()
        done.append(number)

    streams = [asyncio.create_task(stream(number)) for number in range(10)]
    await asyncio.sleep(0)
    for task in streams[4:8]:
        task.cancel()
    await asyncio.wait(streams, timeout=5)
    assert done == [0, 1, 2, 3, 8, 9]


class Line(asyncio.WriteTransport):
    waiting = 0

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return False


def test_only_who_takes_nothing_for_long_has_stalled() -> None:
    line = Line()
    stall, later = Stall(line), writing.STALL_SECONDS

    assert not stall.too_long(later)
    line.waiting = 1_000
    assert not stall.too_long(2 * later)
    line.waiting = 900  # slow, but taking it
    assert not stall.too_long(3 * later)
    assert not stall.too_long(4 * later - 1)
    assert stall.too_long(4 * later)
    line.waiting = 0
    assert not stall.too_long(9 * later)
    line.waiting = 5
    assert not stall.too_long(20 * later)
