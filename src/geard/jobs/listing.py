"""Jobs as a table."""

from __future__ import annotations

from geard.cli.output import placed, print_list
from geard.jobs.requests import Job
from geard.jobs.showing import lasted, state
from geard.logs.lines import local_time


def print_jobs(found: list[tuple[str, Job]], quiet: bool, form: str) -> None:
    rows = (
        (j.id, place, state(j), local_time(j.created)[:19], lasted(j), j.gear or j.image, j.program, j.timer)
        for place, j in found
    )
    header = ("ID", "SERVER", "STATE", "ASKED", "LASTED", "IMAGE", "PROGRAM", "TIMER")
    names = (placed(place, job.id) for place, job in found)
    print_list(found, "name" if quiet else form, names, header, rows)
