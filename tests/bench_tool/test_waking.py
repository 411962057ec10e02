"""What scripts/bench makes of gears that sleep."""

from __future__ import annotations

import shlex

import pytest
from bench.findings import Findings
from bench.inside.waking import quoted
from bench.judge import Counts, Row, judge

SLEEPERS = {
    "sleepers.count": 200.0, "sleepers.seconds": 60.0, "sleepers.knocks": 5_000.0, "sleepers.false": 0.0,
    "sleepers.woken": 100.0, "sleepers.woken.failed": 0.0, "sleepers.woken.seconds": 20.0,
    **{f"sleepers.{who}.{what}": 1.0 for who in ("agent", "waker", "wake") for what in ("ticks", "wakes", "pss")},
}  # fmt: skip


def rows(found: Findings) -> dict[str, Row]:
    return {row.what: row for row in judge(found, Counts((10, 1_000), 1_000))}


def test_wakes_stand_beside_what_else_starts_a_container() -> None:
    samples = {
        "wake-freeze": [4.0, 5.0],
        "wake-stop": [300.0, 310.0],
        "wake-run-page": [200.0],
        "wake-start-page": [150.0],
        "wake-proxied": [305.0],
        "wake-crowd": [500.0, 900.0],
    }
    judged = rows(Findings(samples, {"wake-crowd": 2.0, "wake-crowd.failed": 1.0}))
    assert judged["first byte of a gear that sleeps by freeze: p50"].well
    assert judged["first byte of a gear that sleeps by stop: p50"].well is False
    assert judged["first byte by stop / by podman run -d"].measured.startswith("1.52 ×")
    assert judged["of those, refused, reset or not answered"].fails, "one that was not answered"


def test_nothing_is_in_the_way_of_a_gear_once_woken() -> None:
    samples = {
        f"awake.{name}-ping": [value] for name, value in (("woken", 1.0), ("always", 0.9), ("proxied", 3.0))
    }
    judged = rows(Findings(samples, {}))
    assert judged["a gear once woken / one that never slept: an answer of 64 bytes"].well is False
    assert judged["a gear once woken / systemd-socket-proxyd: an answer of 64 bytes"].well is None


def test_a_gear_that_noise_has_woken_fails_the_run() -> None:
    assert not any(row.fails for row in rows(Findings({}, SLEEPERS)).values())
    assert rows(Findings({}, SLEEPERS | {"sleepers.false": 1.0}))["of those gears, woken by that"].fails


@pytest.mark.parametrize("word", ["plain", "two words", 'a"b', "a\\b", "${HOME}", "100%"])
def test_words_of_a_unit_line(word: str) -> None:
    assert shlex.split(quoted(word).replace("$$", "$").replace("%%", "%")) == [word]
