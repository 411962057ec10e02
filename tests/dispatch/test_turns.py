"""Slow work in bounded numbers; one writer at a time for each gear, in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.dispatch import turns
from geard.dispatch.record import Heading, Line, encode_line, parse_record
from geard.dispatch.records import plan_sweep
from geard.dispatch.settings import RequestSettings
from geard.dispatch.turns import Orders, Turns
from geard.failures import Invalid
from geard.request import Progress


class Told:
    """What a request was told of its waiting."""

    def __init__(self) -> None:
        self.words: list[bool] = []

    def __call__(self, waits: bool) -> None:
        self.words.append(waits)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_at_once_in_the_order_they_came() -> None:
    slots, begun, go_on = Turns(lambda: 2), list[int](), [asyncio.Event() for _ in range(5)]
    told = [Told() for _ in range(5)]

    async def work(number: int) -> None:
        async with slots.turn(told[number]):
            begun.append(number)
            await go_on[number].wait()

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(work(number))
        await settled()
        assert (begun, slots.waiting) == ([0, 1], 3)
        assert [each.words for each in told] == [[], [], [True], [True], [True]]
        go_on[1].set()
        await settled()
        assert begun == [0, 1, 2]
        assert told[2].words == [True, False]
        for event in go_on:
            event.set()
    assert begun == [0, 1, 2, 3, 4]
    assert slots.waiting == 0


async def test_who_waits_for_long_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.01)
    slots, end = Turns(lambda: 1), asyncio.Event()

    async def hang() -> None:
        async with slots.turn(Told()):
            await end.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(hang())
        await asyncio.sleep(0)
        async with asyncio.timeout(5), slots.turn(Told()):
            end.set()
    assert slots.waiting == 0


async def test_who_leaves_the_queue_takes_nobody_s_turn() -> None:
    slots = Turns(lambda: 1)

    async def work() -> None:
        async with slots.turn(Told()):
            await asyncio.sleep(0)

    async with slots.turn(Told()):
        waiting = [asyncio.create_task(work()) for _ in range(3)]
        await settled()
        waiting[0].cancel()
        await settled()
    waiting[1].cancel()  # its turn has come just now
    await asyncio.wait(waiting)
    assert waiting[2].exception() is None
    async with asyncio.timeout(5), slots.turn(Told()):
        pass


async def test_one_writer_at_a_time_for_each_gear() -> None:
    orders, log, first = Orders(), list[str](), asyncio.Event()

    async def write(name: str, subject: str, wait: asyncio.Event | None = None) -> None:
        async with orders.one_of(subject, Told()):
            log.append(name)
            if wait is not None:
                await wait.wait()
            log.append(f"{name} done")

    async with asyncio.TaskGroup() as group:
        group.create_task(write("a", "/container/web", first))
        await settled()
        group.create_task(write("b", "/container/web"))
        group.create_task(write("c", "/container/web"))
        group.create_task(write("other", "/container/db"))
        group.create_task(write("all", ""))
        await settled()
        assert log == ["a", "other", "other done", "all", "all done"]
        first.set()
    assert log[5:] == ["a done", "b", "b done", "c", "c done"]
    assert not orders._locks  # pyright: ignore[reportPrivateUsage]


HOUR = 3_600.0


def test_the_oldest_go_first() -> None:
    entries = [("old", 0.0, 10), ("older", -5.0, 10), ("new", 90.0, 10), ("newest", 95.0, 10)]
    assert plan_sweep(entries, 100.0, HOUR, 1_000) == []
    assert set(plan_sweep(entries, 100.0, 50.0, 1_000)) == {"old", "older"}
    assert set(plan_sweep(entries, 100.0, HOUR, 30)) == {"older"}
    assert set(plan_sweep(entries, 100.0, HOUR, 10)) == {"old", "older", "new"}
    assert plan_sweep([], 100.0, HOUR, 10) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"keep_hours": 0.5}, "an hour at least"),
        ({"keep_megabytes": 0}, "1 at least"),
        ({"at_once": -1}, "negative"),
    ],
)
def test_bounds_that_keep_no_promise_are_refused(words: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        RequestSettings(**words).check()


HEADING = Heading(id="x", who="uid 0", by="root", kind="Bake", what="PUT /bread/x", digest="00", at=1.0)
WHOLE = b"".join(
    encode_line(line)
    for line in (
        Line(heading=HEADING),
        Line(answer={"Id": "x"}),
        Line(step=Progress(message="two\nlines, and ☃")),
        Line(ended=2.0),
    )
)


@given(st.integers(0, len(WHOLE)))
def test_a_record_cut_anywhere_says_what_was_whole(length: int) -> None:
    found = parse_record(WHOLE[:length])
    lines = WHOLE[:length].count(b"\n")
    assert (found is not None) == (lines >= 1)
    if found is not None:
        assert (found.answered, len(found.steps), found.ended is not None) == (
            lines > 1,
            int(lines > 2),
            lines > 3,
        )


@given(st.binary(max_size=300))
def test_what_is_no_record_is_none(data: bytes) -> None:
    assert parse_record(data) is None
    found = parse_record(encode_line(Line(heading=HEADING)) + data)
    assert found is not None and found.heading == HEADING
