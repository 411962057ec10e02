from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.logs.merging import LIVE_SECONDS, PAST_SECONDS, SILENT_SECONDS, Merge


def test_lines_wait_for_the_other_series() -> None:
    merge = Merge[str](2, now=0)
    merge.put(0, "12:02", "b", 0)
    assert merge.take(0) == []
    merge.put(1, "12:01", "a", 0)
    merge.put(1, "12:03", "c", 0)
    assert merge.take(0) == [(1, "a"), (0, "b")]
    merge.end(0)
    assert merge.take(0) == [(1, "c")]
    assert not merge.done
    merge.end(1)
    assert merge.done


def test_a_series_that_may_still_tell_of_the_past_is_waited_for_longer() -> None:
    merge = Merge[str](2, now=0)
    merge.put(0, "12:00", "a", 0.1)
    assert merge.take(1) == []
    assert merge.due(1) == SILENT_SECONDS - 1
    assert merge.take(SILENT_SECONDS) == [(0, "a")]


def test_one_that_has_told_of_its_past_is_waited_for_a_moment() -> None:
    merge = Merge[str](2, now=0)
    merge.put(0, "12:00", "a", 0.1)
    merge.put(1, "12:01", "b", 0.1)
    assert merge.take(0.2) == [(0, "a")]
    assert merge.due(0.1) == pytest.approx(PAST_SECONDS)
    assert merge.take(0.2 + PAST_SECONDS) == [(1, "b")]


def test_a_series_that_has_reached_the_present_holds_up_nobody_for_long() -> None:
    merge = Merge[str](2, now=0)
    merge.put(0, "12:00", "a", 10, live=True)
    merge.put(1, "12:01", "b", 10, live=True)
    assert merge.take(10) == [(0, "a")]
    assert merge.due(10) == pytest.approx(LIVE_SECONDS)
    assert merge.take(10 + LIVE_SECONDS) == [(1, "b")]
    assert merge.due(11) is None


def test_lines_that_come_out_of_order_within_that_time_are_put_in_order() -> None:
    merge = Merge[str](2, now=0)
    merge.put(0, "0", "x", 10, live=True)
    merge.put(1, "0", "y", 10, live=True)
    merge.take(11)
    merge.put(0, "12:02", "second", 12)
    assert merge.take(12) == []
    merge.put(1, "12:01", "first", 12 + LIVE_SECONDS / 2)
    assert merge.take(12 + LIVE_SECONDS / 2) == [(1, "first")]
    assert merge.take(12 + LIVE_SECONDS) == [(0, "second")]


def test_one_that_ended_at_once_is_not_waited_for() -> None:
    merge = Merge[str](2, now=0)
    merge.end(1)
    merge.put(0, "12:00", "a", 0)
    assert merge.take(0) == [(0, "a")]


@given(st.lists(st.lists(st.integers(0, 99), max_size=20), min_size=1, max_size=5), st.data())
def test_what_has_an_end_comes_out_whole_and_in_order(series: list[list[int]], data: st.DataObject) -> None:
    merge = Merge[int](len(series), now=0)
    lines = [(number, stamp) for number, stamps in enumerate(series) for stamp in sorted(stamps)]
    order = data.draw(st.permutations([number for number, _ in lines]))
    rest = [sorted(stamps) for stamps in series]
    out: list[int] = []
    for number in order:
        merge.put(number, f"{rest[number][0]:02}", rest[number].pop(0), 0)
        out += [stamp for _, stamp in merge.take(0)]
    for number in range(len(series)):
        merge.end(number)
    out += [stamp for _, stamp in merge.take(0)]
    assert out == sorted(stamp for _, stamp in lines)
    assert merge.done
