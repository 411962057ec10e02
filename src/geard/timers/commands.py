"""`gear cron …`"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import click

from geard.cli.asking import ask, ask_places, locators, places, session
from geard.cli.completion import Name
from geard.cli.main import verbs
from geard.cli.output import output_option, placed, print_list, printable
from geard.failures import Invalid
from geard.identifiers import Locator, Place, parse_place
from geard.jobs.given import described, wanted
from geard.jobs.listing import print_jobs
from geard.jobs.requests import CancelJob, JobWish, RunJob, TidyJobs
from geard.request import Request
from geard.timers.requests import (
    AddTimer,
    FireTimer,
    GetTimer,
    ListTimers,
    RemoveTimer,
    RunTimer,
    StartTimers,
    SuspendTimer,
    Timer,
)

NAME_LIMIT = 44
"""characters of a timer's name that its jobs' names begin with"""


class TimerName(Name):
    def __init__(self) -> None:
        super().__init__(
            lambda host: [t.id for t in session.transport(parse_place(host)).send(ListTimers()).timers]
        )


cron = verbs(
    "cron", group="Jobs", doc="Jobs by the calendar: add, list, show, history, run, suspend, resume, remove."
)
_names = click.argument("names", nargs=-1, required=True, metavar="NAME...", type=TimerName())


def _locators(names: tuple[str, ...]) -> list[Locator]:
    return locators(names, what="timer")


@cron.command("add", context_settings={"allow_interspersed_args": False})
@click.option(
    "--overlap",
    type=click.Choice(["forbid", "allow", "replace"]),
    default="forbid",
    show_default=True,
    help="Where the one before still runs.",
)
@click.option("--no-catch-up", is_flag=True, help="What was missed while the machine was down is not run.")
@click.option("--in", "gear", default="", metavar="GEAR", help="With that gear's image, environment, volumes, …")
@described
@click.argument("name", metavar="NAME", type=TimerName())
@click.argument("schedule")
@click.argument("arguments", nargs=-1, metavar="[IMAGE] [--] [COMMAND...]", type=click.UNPROCESSED)
def add(name: str, schedule: str, arguments: tuple[str, ...], **given: Any) -> None:
    """Run a job by the calendar: 'Mon..Fri 03:00', hourly, '*:0/15' (man systemd.time).

    \b
    gear cron add -v /srv:/srv:ro --time-limit 2h backup "Mon..Fri 03:00" borg -- create …
    gear cron add --in web tidy hourly -- manage.py clearsessions
    """
    (target,) = _locators((name,))
    gear = given["gear"]
    image, command = ("", arguments) if gear else (arguments[0] if arguments else "", arguments[1:])
    command = command[1:] if command[:1] == ("--",) else command
    if given["interactive"] or given["tty"]:
        raise Invalid("nobody is there when a timer fires", hint="leave out --interactive and --tty")
    wish = JobWish(image=image, gear=gear, command=command, **wanted(given))
    request = AddTimer(
        id=target.id, schedule=schedule, job=wish, overlap=given["overlap"], catch_up=not given["no_catch_up"]
    )
    session.changes = True
    answer = session.transport(target.at).send(request)
    click.echo(f"{target}: next at {answer.next or 'no time'}")


@cron.command("list")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
def list_(hosts: tuple[str, ...], form: str) -> None:
    """List the timers of one or more machines."""
    found = [
        (str(at), t) for at, answer in ask_places(places(hosts), lambda at: ListTimers()) for t in answer.timers
    ]
    _print(found, form)


def _print(found: list[tuple[str, Timer]], form: str) -> None:
    rows = (
        (t.id, place, t.schedule, "suspended" if t.suspended else t.next, t.last, t.overlap, t.gear or t.image)
        for place, t in found
    )
    header = ("NAME", "SERVER", "SCHEDULE", "NEXT", "LAST", "OVERLAP", "IMAGE")
    print_list(found, form, (placed(place, timer.id) for place, timer in found), header, rows)


@cron.command("show")
@_names
@output_option
def show(names: tuple[str, ...], form: str) -> None:
    """Show timers in full."""
    found = [(str(target.at), answer) for target, answer in ask(_locators(names), lambda at: GetTimer(id=at.id))]
    if form != "table":
        _print(found, form)
        return
    for _, timer in found:
        click.echo("\n".join(map(printable, timer.text().split("\n"))))


@cron.command("history")
@click.argument("name", metavar="NAME", type=TimerName())
@output_option
def history(name: str, form: str) -> None:
    """List the jobs of a timer that are kept, and the times that were left out."""
    (target,) = _locators((name,))
    answer = session.transport(target.at).send(GetTimer(id=target.id))
    print_jobs([(str(target.at), job) for job in answer.jobs], False, form)
    if form == "table":
        for each in answer.skipped:
            click.echo(f"left out at {each.at}: {each.why}")


def _change(name: str, make: Callable[[str], Request[Any]], done: str, doc: str) -> None:
    @cron.command(name, help=doc)
    @_names
    def command(names: tuple[str, ...]) -> None:
        for target, _ in ask(_locators(names), lambda at: make(at.id)):
            click.echo(f"{target}: {done}")


_change("run", lambda id: RunTimer(id=id), "is run now", "Run a timer's job now.")
_change("suspend", lambda id: SuspendTimer(id=id), "rests", "Have timers rest, also after a boot.")
_change("resume", lambda id: SuspendTimer(id=id, suspended=False), "goes on", "Have timers go on.")
_change("remove", lambda id: RemoveTimer(id=id), "is removed", "Forget timers; jobs that run go on.")


@cron.command("fire", hidden=True)
@click.argument("name")
def fire(name: str) -> None:
    """Asked by cron-NAME.service."""
    here = session.transport(Place())
    firing = here.send(FireTimer(id=name))
    if firing.skip:
        click.echo(f"no job now: {firing.skip}")
        return
    for id in firing.end_first:
        here.send(CancelJob(id=id), follow=lambda step: None)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    said = {field: getattr(firing.job, field) for field in cast("Any", JobWish).__struct_fields__}
    said |= {"id": f"{name[:NAME_LIMIT].rstrip('.')}-{now}", "timer": name}
    click.echo(here.send(RunJob(**said)).id)
    here.send(TidyJobs())


@cron.command("boot", hidden=True)
def boot() -> None:
    """Asked by geard-boot.service."""
    session.transport(Place()).send(StartTimers())
