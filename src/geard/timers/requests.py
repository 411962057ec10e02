"""The words of timers."""

from __future__ import annotations

from typing import Literal

from geard.jobs.requests import Job, JobWish
from geard.request import Answer, Nothing, Request, Route
from geard.timers.showing import describe
from geard.words import Word

Overlap = Literal["forbid", "allow", "replace"]


class Skipped(Word):
    """A time at which no job was begun."""

    at: str
    """RFC 3339"""
    why: str


class Timer(Answer):
    example = {
        "Id": "backup",
        "Schedule": "Mon..Fri 03:00",
        "Normalized": "Mon..Fri *-*-* 03:00:00",
        "Overlap": "forbid",
        "CatchUp": True,
        "Image": "borg",
        "Next": "2026-11-30T03:00:00+00:00",
    }

    id: str
    schedule: str
    normalized: str = ""
    """as systemd understands it"""
    overlap: Overlap = "forbid"
    catch_up: bool = True
    suspended: bool = False
    image: str = ""
    gear: str = ""
    program: str = ""
    by: str = ""
    created: str = ""
    next: str = ""
    """RFC 3339; empty where it is suspended, or its time is over"""
    last: str = ""
    jobs: tuple[Job, ...] = ()
    """those that are kept, the newest first; only of one that was asked for by name"""
    skipped: tuple[Skipped, ...] = ()

    def text(self) -> str:
        return describe(self)


class AddTimer(Request[Timer]):
    """Have a job run by the calendar; in place of an earlier timer of that name."""

    route = Route("PUT", "/timer/{id}")
    example = {"Id": "backup", "Schedule": "Mon..Fri 03:00", "Job": {"Image": "borg", "Command": ["create"]}}

    id: str
    schedule: str
    """an OnCalendar= of systemd's: 'Mon..Fri 03:00', 'hourly', '*:0/15'"""
    job: JobWish
    overlap: Overlap = "forbid"
    """where the one before still runs: leave this one out, run both, or end that one first"""
    catch_up: bool = True
    """what was missed while the machine was down is run once when it is up"""

    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.id, self.job.gear, self.job.environment_id) if name)


class TimerList(Answer):
    example = {"Timers": [dict(Timer.example)]}

    timers: tuple[Timer, ...]


class ListTimers(Request[TimerList]):
    route = Route("GET", "/timers", scope="read", text=False, reach="shown")


class GetTimer(Request[Timer]):
    """One timer, with its jobs that are kept and the times that were left out."""

    route = Route("GET", "/timer/{id}", scope="read")

    id: str


class RemoveTimer(Request[Nothing]):
    """Forget a timer; jobs of its that run go on. One that is not there is fine."""

    route = Route("DELETE", "/timer/{id}")

    id: str


class SuspendTimer(Request[Timer]):
    """Have a timer rest, now and after a boot, until it is told otherwise."""

    route = Route("PUT", "/timer/{id}/suspended")
    example = {"Id": "backup", "Suspended": True}

    id: str
    suspended: bool = True


class RunTimer(Request[Nothing]):
    """Run a timer's job now; what it says of overlapping holds."""

    route = Route("POST", "/timer/{id}/run")

    id: str


class Firing(Answer):
    """What a timer's unit is to do now."""

    job: JobWish
    end_first: tuple[str, ...] = ()
    """jobs that are to be ended before"""
    skip: str = ""
    """why there is to be none"""


class FireTimer(Request[Firing]):
    """Asked by a timer's unit, on this machine."""

    id: str


class StartTimers(Request[Nothing]):
    """Asked at the boot: systemd gets to know the timers on the gears' disk, and starts those that do not rest."""
