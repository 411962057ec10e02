"""When a gear falls asleep by itself."""

from __future__ import annotations

import pytest

from geard.failures import Invalid
from geard.idling.policy import Quiet, Seen, decide, describe_after, parse_after
from geard.idling.requests import IdlePolicy

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
    assert decide(IdlePolicy(), 900, "stop") == (900, "stop")
    assert decide(IdlePolicy(after=0), 900, "stop") == (0, "stop")
    assert decide(IdlePolicy(after=60, depth="freeze"), 900, "stop") == (60, "freeze")


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
