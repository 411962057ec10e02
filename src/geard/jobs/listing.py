"""Jobs as a table."""

from __future__ import annotations

import click

from geard.cli.output import structured, table, with_place
from geard.jobs.requests import Job
from geard.jobs.showing import lasted, state
from geard.logs.lines import local_time


def print_jobs(found: list[tuple[str, Job]], quiet: bool, form: str) -> None:
    if quiet or form == "name":
        names = [f"{place}/{job.id}" if place else job.id for place, job in found]
        click.echo("\n".join(names), nl=bool(names))
    elif form in ("json", "yaml"):
        structured([with_place(job, place) for place, job in found], form)
    else:
        rows = [
            (j.id, place, state(j), local_time(j.created)[:19], lasted(j), j.gear or j.image, j.program, j.timer)
            for place, j in found
        ]
        click.echo(table(("ID", "SERVER", "STATE", "ASKED", "LASTED", "IMAGE", "PROGRAM", "TIMER"), rows))
