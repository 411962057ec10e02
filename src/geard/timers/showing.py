"""A timer in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geard.jobs.showing import state

if TYPE_CHECKING:
    from geard.timers.requests import Timer

OVERLAPS = {
    "forbid": "left out while the one before runs",
    "allow": "run beside the one before",
    "replace": "the one before is ended first",
}


def describe(timer: Timer) -> str:
    rows = [
        ("Timer", f"{timer.id}, cron-{timer.id}.timer"),
        ("Schedule", f"{timer.schedule} ({timer.normalized})"),
        ("Next", "suspended" if timer.suspended else timer.next or "never again"),
        ("Last", timer.last or "not yet"),
        ("Overlap", OVERLAPS[timer.overlap]),
        ("Catch-up", "what was missed is run once" if timer.catch_up else "what was missed is not run"),
        ("Runs", " ".join(word for word in (timer.image or f"in {timer.gear}", timer.program) if word)),
        ("Asked", f"{timer.created} by {timer.by}"),
    ]
    rows += [("Job", f"{job.id}  {job.created}  {state(job)}") for job in timer.jobs]
    rows += [("Left out", f"{each.at}  {each.why}") for each in timer.skipped]
    return "\n".join(f"{label + ':':<10} {text}" for label, text in rows)
