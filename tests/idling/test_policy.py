"""When a gear falls asleep by itself."""

from __future__ import annotations

import pytest

from geard.failures import Invalid
from geard.idling.policy import (
    LEAST,
    Machine,
    Quiet,
    Seen,
    check_interfaces,
    check_sources,
    decide,
    describe_after,
    parse_after,
    parse_span,
    within,
)
from geard.idling.requests import IdlePolicy

NOON = 12 * 60
QUIET = Seen(pid=7, accepted=3, open=0)


@pytest.mark.parametrize(("text", "seconds"), [("15m", 900), ("90", 90), ("1h30m", 5400), ("never", 0), ("0", 0)])
def test_times(text: str, seconds: int) -> None:
    assert parse_after(text) == seconds


@pytest.mark.parametrize("text", ["5s", "-5m", "soon", "9000d", ""])
def test_times_that_cannot_be(text: str) -> None:
    with pytest.raises(Invalid):
        parse_after(text)


def test_times_are_shown_as_they_are_written() -> None:
    assert [describe_after(n) for n in (900, 3600, 5400, 172_800, 61)] == ["15m", "1h", "90m", "2d", "61s"]


def test_a_gears_own_word_goes_before_the_machines() -> None:
    machine = Machine(900, "stop", "22:00-06:00")
    assert decide(IdlePolicy(), machine, NOON) == (900, "stop")
    assert decide(IdlePolicy(after=0), machine, NOON) == (0, "stop")
    assert decide(IdlePolicy(after=120, depth="freeze"), machine, NOON) == (120, "freeze")
    assert decide(IdlePolicy(after=0), machine, NOON + 660) == (LEAST, "stop"), "at night a minute is enough"
    assert decide(IdlePolicy(after=0, asleep=""), machine, NOON + 660) == (0, "stop")
    assert decide(IdlePolicy(asleep="11:00-13:00"), machine, NOON) == (LEAST, "stop")


def test_spans_of_the_day() -> None:
    night, day = parse_span("22:00-06:00"), parse_span("09:30-17:00")
    hours = [(within(night, 60 * hour), within(day, 60 * hour)) for hour in (0, 5, 6, 9, 10, 17, 22, 23)]
    assert [night for night, _ in hours] == [True, True, False, False, False, False, True, True]
    assert [day for _, day in hours] == [False, False, False, False, True, False, False, False]
    assert parse_span("never") is None and not within(None, NOON)


@pytest.mark.parametrize(
    "text", ["22-6", "24:00-06:00", "22:00-22:00", "2:00-3:00", "22:00\u201306:00", "at night"]
)
def test_spans_that_cannot_be(text: str) -> None:
    with pytest.raises(Invalid):
        parse_span(text)


def test_networks_that_may_wake() -> None:
    assert check_sources(["10.1.2.3/8", "::1", "192.0.2.7"]) == ("10.0.0.0/8", "::1/128", "192.0.2.7/32")
    for wrong in (["10.0.0.0/33"], ["everywhere"], ["10.0.0.0/8\nthaw /x y"], ["10.0.0.0/8"] * 65):
        with pytest.raises(Invalid):
            check_sources(wrong)


def test_interfaces_by_which_they_may_come() -> None:
    names = ("eth0", "br-1a2b3c4d5e6f", "eth0.100", "veth@if2", "wg*", "*", "a" * 15)
    assert check_interfaces(names) == names
    wrong = (
        "",
        ".",
        "..",
        "a" * 16,
        "a" * 15 + "*",
        "a/b",
        "a b",
        "a:1",
        "a*b",
        "**",
        'a"b',
        "eth0\nthaw /x y",
        "\u00fc0",
    )
    for name in (*wrong, "all", "default", "10.0.0.0/8", "%i", "eth0\n"):
        with pytest.raises(Invalid, match="no name of a network interface"):
            check_interfaces(["eth0", name])
    with pytest.raises(Invalid, match="65 interfaces"):
        check_interfaces(["eth0"] * 65)


def test_quiet_is_counted_from_the_last_change() -> None:
    quiet = Quiet()
    assert quiet.look("web", QUIET, 0, busy=False) == 0
    assert quiet.look("web", QUIET, 30, busy=False) == 30
    assert quiet.look("web", Seen(7, 4, 0), 45, busy=False) == 0, "somebody came, and has gone"
    assert quiet.look("web", Seen(7, 4, 0), 60, busy=False) == 15
    assert quiet.look("web", Seen(8, 4, 0), 75, busy=False) == 0, "another run of it"


def test_nobody_is_sent_away() -> None:
    quiet = Quiet()
    connected = Seen(pid=7, accepted=3, open=1)
    for now in (0, 1000, 2000):
        assert quiet.look("web", connected, now, busy=False) == 0
        assert quiet.look("db", QUIET, now, busy=True) == 0
    assert quiet.look("web", QUIET, 2015, busy=False) == 0
    assert quiet.look("web", QUIET, 2030, busy=False) == 15


def test_one_that_was_gone_begins_anew() -> None:
    quiet = Quiet()
    quiet.look("web", QUIET, 0, busy=False)
    quiet.keep(set())
    assert quiet.look("web", QUIET, 100, busy=False) == 0
