"""`gear cron` on a host of fakes, without an agent and through one; what stands in its units."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from tests.fakes.terminal import Terminal, Way, terminal

from geard.failures import Invalid
from geard.host.process import Finished
from geard.jobs.requests import JobWish
from geard.timers import calendar
from geard.timers.store import TimerRecord, render_service, render_timer

SAID = "  Original form: hourly\nNormalized form: *-*-* *:00:00\n    Next elapse: Sat 2026-11-28 16:00:00 UTC\n"
NEVER = "Normalized form: 1999-01-01 00:00:00\n    Next elapse: never\n"


@pytest.fixture
def analyzed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    def say(status: int, text: str) -> None:
        async def run(argv: list[str], *, check: bool) -> Finished:
            assert argv[:4] == ["/usr/bin/systemd-analyze", "calendar", "--iterations=1", "--"]
            return Finished(status, text, "")

        monkeypatch.setattr(calendar, "run", run)

    say(0, SAID)
    return say


@pytest.fixture(params=["local", "http"])
def gear(tmp_path: Path, analyzed: object, request: pytest.FixtureRequest) -> Generator[Terminal]:
    way: Way = request.param
    with terminal(tmp_path, way) as found:
        yield found


async def test_systemd_says_what_a_schedule_means(analyzed: Callable[[int, str], None]) -> None:
    assert await calendar.normalized("hourly") == "*-*-* *:00:00"
    analyzed(0, NEVER)
    with pytest.raises(Invalid, match="never comes again"):
        await calendar.normalized("1999-01-01")
    analyzed(1, "")
    with pytest.raises(Invalid, match="does not know"):
        await calendar.normalized("soon")
    for text in ("", " ", "a\nb", "x" * 201, "\0"):
        with pytest.raises(Invalid):
            await calendar.normalized(text)


def test_units() -> None:
    record = TimerRecord(
        id="a.b", schedule="evil\nOnBootSec=1", normalized="*-*-* 03:00:00", job=JobWish(image="a"), catch_up=False
    )
    timer, service = render_timer(record, Path("/b")), render_service(record, Path("/b"))
    assert "OnCalendar=*-*-* 03:00:00\nPersistent=no\n" in timer
    assert "evil" not in timer + service
    assert "ExecStart=/usr/bin/gear cron fire a.b\n" in service


def test_a_timers_life(gear: Terminal) -> None:
    folder = gear.host.paths.base / "timers" / "tick"
    gear.ok("cron", "add", "-e", "A=secret", "tick", "hourly", "geard/sample", "--", "make", "it")
    assert (folder / "timer").stat().st_mode & 0o077 == 0
    assert "secret" not in (folder / "cron-tick.timer").read_text() + (folder / "cron-tick.service").read_text()
    assert (gear.host.paths.systemd / "cron-tick.timer").readlink() == folder / "cron-tick.timer"
    assert gear.host.systemd.told_about("cron-tick.timer") == ["restart"]
    assert "tick" in gear.ok("cron", "list")
    gear.ok("cron", "suspend", "tick")
    (shown,) = json.loads(gear.ok("cron", "show", "-o", "json", "tick"))
    assert (shown["Suspended"], shown["Normalized"], shown["Program"]) == (True, "*-*-* *:00:00", "make")
    gear.ok("cron", "resume", "tick")
    assert gear.host.systemd.told_about("cron-tick.timer")[-1] == "restart"
    gear.ok("cron", "run", "tick")
    assert gear.host.systemd.told_about("cron-tick.service") == ["start"]
    gear.ok("cron", "remove", "tick")
    assert not folder.exists()
    assert not (gear.host.paths.systemd / "cron-tick.timer").is_symlink()
    assert gear("cron", "show", "tick").code == 5
    gear.ok("cron", "remove", "tick")


def test_overlap(tmp_path: Path, analyzed: object) -> None:
    with terminal(tmp_path, "local") as gear:
        for overlap, count in (("forbid", 1), ("allow", 2), ("replace", 2)):
            gear.ok("cron", "add", "--overlap", overlap, overlap, "hourly", "geard/sample")
            gear.ok("cron", "fire", overlap)
            gear.ok("cron", "fire", overlap)
            (shown,) = json.loads(gear.ok("cron", "show", "-o", "json", overlap))
            assert len(shown["Jobs"]) == count, overlap
            assert [each["Why"] for each in shown["Skipped"]] == (
                [f"{shown['Jobs'][0]['Id']} still runs"] if overlap == "forbid" else []
            )
            stopped = [name for verb, name in gear.host.systemd.told if verb == "stop"]
            assert bool(stopped) is (overlap == "replace")


def test_a_boot(gear: Terminal) -> None:
    gear.ok("cron", "add", "one", "hourly", "geard/sample")
    gear.ok("cron", "add", "rests", "hourly", "geard/sample")
    gear.ok("cron", "suspend", "rests")
    for link in gear.host.paths.systemd.glob("cron-*"):
        link.unlink()
    gear.host.systemd.restart_machine()
    gear.host.systemd.told.clear()
    if gear.way == "local":
        gear.ok("cron", "boot")
        assert gear.host.systemd.told == [("start", "cron-one.timer")]
        assert (gear.host.paths.systemd / "cron-rests.service").is_symlink()


@pytest.mark.parametrize(
    "words",
    [
        ("../x", "hourly", "a/b"),
        ("one", "hourly"),
        ("-t", "one", "hourly", "a/b"),
        ("--in", "nosuch", "one", "hourly"),
    ],
)
def test_what_cannot_be(gear: Terminal, words: tuple[str, ...]) -> None:
    assert gear("cron", "add", *words).code in (5, 64)
    assert gear.ok("cron", "list", "-o", "name") == ""
