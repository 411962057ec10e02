from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from geard.failures import Invalid
from geard.logs.times import is_span, microseconds, parse_duration, parse_moment, spelt_for_hosts

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 19, 43, 46, 123456, BERLIN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-23T19:43:46.123456+01:00"),
        ("10m", "2026-11-23T19:33:46.123456+01:00"),
        ("-10m", "2026-11-23T19:33:46.123456+01:00"),
        ("10 min ago", "2026-11-23T19:33:46.123456+01:00"),
        ("2h", "2026-11-23T17:43:46.123456+01:00"),
        ("1h30m", "2026-11-23T18:13:46.123456+01:00"),
        ("1d 2h", "2026-11-22T17:43:46.123456+01:00"),
        ("1.5s", "2026-11-23T19:43:44.623456+01:00"),
        ("today", "2026-11-23T00:00:00+01:00"),
        ("yesterday", "2026-11-22T00:00:00+01:00"),
        ("yesterday 8:30", "2026-11-22T08:30:00+01:00"),
        ("19:30", "2026-11-23T19:30:00+01:00"),
        ("07:30:15", "2026-11-23T07:30:15+01:00"),
        ("2026-11-20", "2026-11-20T00:00:00+01:00"),
        ("2026-11-20 08:15", "2026-11-20T08:15:00+01:00"),
        ("2026-11-20 08:15:30.25", "2026-11-20T08:15:30.250000+01:00"),
        ("2026-07-20 08:15", "2026-07-20T08:15:00+02:00"),
        ("2026-11-20T08:15:30Z", "2026-11-20T09:15:30+01:00"),
        ("2026-11-20T08:15:30.123456+00:00", "2026-11-20T09:15:30.123456+01:00"),
        ("2026-11-20t08:15:30-0500", "2026-11-20T14:15:30+01:00"),
        ("2026-11-20T08:15:30 00:00", "2026-11-20T09:15:30+01:00"),  # a '+' that nobody escaped
        ("@1700000000", "2023-11-14T23:13:20+01:00"),
        ("@1700000000.5", "2023-11-14T23:13:20.500000+01:00"),
    ],
)
def test_times_are_read(text: str, expected: str) -> None:
    assert parse_moment(text, NOW, BERLIN).astimezone(BERLIN).isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "tomorrow", "today tomorrow", "10", "10x", "m", "--10m", "10m; rm", "１０m"),
        *(
            "25:00",
            "10:61",
            "2026-13-01",
            "2026-11-31 10:00",
            "2026-11-20T",
            "2026-11-23 19:43 Europe/Berlin",
        ),
        *("99999999999w", "@99999999999999"),
    ],
)
def test_what_is_no_time_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_moment(text, NOW, BERLIN)
    assert caught.value.hint


def test_without_a_zone_it_is_this_machines() -> None:
    assert parse_moment("2026-11-20 08:15", NOW) == datetime.fromisoformat("2026-11-20T08:15").astimezone()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("0", 0), ("0.5", 0.5), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800)],
)
def test_lengths_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "-1", "-10m", "ten", "1:30", "9" * 12 + "w"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_duration(text)


def test_a_clock_time_is_sent_with_its_zone_and_a_span_as_it_is() -> None:
    """Hosts in other time zones mean the same moment; a host's clock that is wrong does not shift a span."""
    assert spelt_for_hosts("2026-11-23 19:43", NOW, BERLIN) == "2026-11-23T18:43:00+00:00"
    assert spelt_for_hosts("today", NOW, BERLIN) == "2026-11-22T23:00:00+00:00"
    assert spelt_for_hosts("10m", NOW, BERLIN) == "10m"
    assert spelt_for_hosts("", NOW, BERLIN) == ""
    with pytest.raises(Invalid):
        spelt_for_hosts("whenever", NOW, BERLIN)


def test_spans_are_told_from_clock_times() -> None:
    assert is_span("-1h30m")
    assert not is_span("10:30")
    assert not is_span("today")


def test_the_journal_counts_microseconds_and_knows_nothing_before_1970() -> None:
    assert microseconds(datetime(1970, 1, 1, 1, 0, 0, 7, timezone(timedelta(hours=1)))) == 7
    assert microseconds(datetime(1900, 1, 1, tzinfo=UTC)) == 0
