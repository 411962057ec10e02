from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from geard.failures import Invalid
from geard.host.journal import Span
from geard.logs.requests import FollowLog
from geard.logs.times import microseconds
from geard.logs.wanted import Beginning, Wanted, parse_wanted
from geard.transport.wire import parse

NOW = datetime(2026, 11, 23, 19, 43, tzinfo=UTC)


def ago(seconds: int) -> int:
    return microseconds(NOW - timedelta(seconds=seconds))


def wanted(**query: str) -> Wanted:
    """As `curl …/container/web/log?QUERY` asks."""
    request = parse(FollowLog, {"id": "web"}, query, b"")
    return parse_wanted(request, NOW, request.lines)


def test_plain_curl_sees_the_last_30_seconds_and_the_next() -> None:
    assert wanted() == Wanted(Span(since=ago(30), at_least=10), 30)


def test_following_ends_when_it_is_told_to() -> None:
    assert wanted(follow="true").seconds is None
    assert wanted(Follow="1", timeout="5m").seconds == 300
    assert wanted(FOLLOW="false").seconds == 0
    assert wanted(timeout="0").seconds == 0
    assert wanted(timeout="90").seconds == 90


def test_nothing_is_awaited_that_would_be_past_the_end() -> None:
    assert wanted(until="10m").seconds == 0
    assert wanted(until="2026-11-23T19:43:10Z", follow="true").seconds == 10
    assert wanted(until="2026-11-23T19:44:10Z") == Wanted(
        Span(until=microseconds(NOW + timedelta(seconds=70))), 30
    )


def test_who_says_which_lines_is_given_those() -> None:
    assert wanted(lines="5").span == Span(lines=5)
    assert wanted(lines="0").span == Span(lines=0)
    assert wanted(lines="all").span == Span()
    assert wanted(since="2h").span == Span(since=ago(7200))
    assert wanted(since="2h", lines="5").span == Span(since=ago(7200), lines=5)
    assert wanted(after="s=1;i=2").span == Span(after="s=1;i=2")


@pytest.mark.parametrize(
    "query",
    [
        {"lines": "-1"},
        {"lines": "many"},
        {"lines": "1e9"},
        {"since": "soon"},
        {"until": "x"},
        {"timeout": "x"},
        {"after": "x"},
    ],
)
def test_what_makes_no_sense_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        wanted(**query)


def test_an_unknown_word_is_refused_with_the_nearest_known() -> None:
    with pytest.raises(Invalid) as caught:
        wanted(line="5")
    assert "Lines" in caught.value.hint


def test_what_is_not_from_before_a_moment_by_the_order_of_entries() -> None:
    since = Beginning(100)
    assert [since.is_past(time, 200) for time in (98, 99, 100, 101)] == [False, False, True, True]
    assert since.is_past(40, 50), "the clock was set back: it comes behind one that is"
    assert Beginning(100).is_past(40, 50), "and where none is: the moment is yet to come"
    assert all(Beginning(0).is_past(time) for time in (1, 0, 2))
