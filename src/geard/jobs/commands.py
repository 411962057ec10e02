"""`gear run`, `gear jobs`, and `gear job …`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from geard.cli.asking import ask, ask_places, locators, places, session
from geard.cli.attaching import DETACHED, attach, terminal_size
from geard.cli.completion import GearName, Name
from geard.cli.detaching import USUAL, parse_keys
from geard.cli.main import verb, verbs
from geard.cli.other_program import OWN_FAILURE, OtherProgram, own_failures
from geard.cli.output import output_option, printable, structured, with_place
from geard.failures import Invalid, TimedOut, Unavailable
from geard.identifiers import Locator, Place, parse_locator, parse_place
from geard.jobs.given import described, wanted
from geard.jobs.listing import print_jobs
from geard.jobs.requests import (
    AttachToJob,
    CancelJob,
    FollowJobLog,
    GetJob,
    ListJobs,
    RemoveJob,
    RunJob,
    TidyJobs,
)
from geard.logs.lines import local_time
from geard.request import Request


def _jobs_of(host: str) -> list[str]:
    return [job.id for job in session.transport(parse_place(host)).send(ListJobs(all=True)).jobs]


_detach_keys = click.option(
    "--detach-keys", "leave_by", default=USUAL, show_default=True, metavar="KEYS",
    help="On a terminal these leave the job to itself; '' for none.",
)  # fmt: skip


class JobName(Name):
    def __init__(self) -> None:
        super().__init__(_jobs_of)


@verb("run", group="Jobs", cls=OtherProgram, context_settings={"allow_interspersed_args": False})
@click.option("-d", "--detach", is_flag=True, help="Print its name and leave it to itself.")
@click.option("--name", default="", metavar="[HOST/]NAME", help="Its name. [default: one is given]")
@click.option("--host", default="", metavar="HOST", help="Run it there.")
@click.option(
    "--in",
    "gear",
    default="",
    metavar="[HOST/]GEAR",
    help="With that gear's image, environment, secrets, volumes, links.",
    type=GearName(),
)
@described
@_detach_keys
@click.option("--artifacts", default="", metavar="DIR", help="A folder inside whose files are handed back.")
@click.option("--artifacts-to", default="", metavar="FOLDER", help="Put them there when it has ended.")
@click.argument("arguments", nargs=-1, metavar="[IMAGE] [--] [COMMAND...]", type=click.UNPROCESSED)
@own_failures
def run(arguments: tuple[str, ...], **given: Any) -> int:
    """Run a container once, as a systemd unit of its own, and follow it to its end.

    \b
    gear run busybox -- ls -l /
    gear run -it --memory 1g debian bash
    gear run -d --name backup --time-limit 1h -v /srv:/srv:ro borg -- create …
    gear run --in web -- manage.py migrate
    gear run --host h1 --artifacts /out builder -- make OUT=/out

    Its exit code is passed on: 126 says that it cannot be executed, 127 that there is no such program, 125 that
    geard or the engine failed. Ctrl-C ends it. Who only leaves (Ctrl-P Ctrl-Q with -it, a terminal that is closed)
    ends nothing: gear job attach follows it again.
    """
    keys = parse_keys(given["leave_by"])
    target, gear, place = _where(given["name"], given["gear"], given["host"])
    image, command = ("", arguments) if gear else (arguments[0] if arguments else "", arguments[1:])
    command = command[1:] if command[:1] == ("--",) else command
    if not (image or gear) or image == "--":
        raise Invalid("an image is needed", hint="gear run IMAGE [--] COMMAND...; or --in GEAR")
    if given["artifacts_to"] and (not given["artifacts"] or given["detach"]):
        raise Invalid("--artifacts-to goes with --artifacts DIR, without --detach")
    report = bool(session.callback)
    wish = RunJob(id=target, image=image, gear=gear, command=command, report=report, **wanted(given))
    job = _started(wish, place)
    if given["detach"]:
        click.echo(job if place.local else f"{place}/{job}")
        return 0
    status = _followed(Locator(job, place), stdin=given["interactive"], tty=given["tty"], drive=True, keys=keys)
    if status == DETACHED:
        return 0
    if given["artifacts_to"]:
        from geard.jobs.handing_back import unpack  # noqa: PLC0415 - few want it

        unpack(session.transport(place), job, given["artifacts_to"])
    return status


def _where(name: str, gear: str, host: str) -> tuple[str, str, Place]:
    """The name, the gear and the one place that is meant. Raises Invalid."""
    job = parse_locator(name, what="job") if name else None
    inside = parse_locator(gear) if gear else None
    said = {each.at for each in (job, inside) if each is not None and not each.at.local}
    said |= {parse_place(host)} if host else set()
    if len(said) > 1:
        raise Invalid("two machines are named", hint="--host HOST, or HOST/NAME, or --in HOST/GEAR")
    place = said.pop() if said else Place()
    return job.id if job else "", inside.id if inside else "", place


def _started(wish: RunJob, place: Place) -> str:
    session.changes = True
    return session.transport(place).send(wish).id


def _followed(job: Locator, *, stdin: bool, tty: bool, drive: bool, keys: bytes, recent: bool = False) -> int:
    size = terminal_size()
    rows, columns = (size.rows, size.columns) if tty else (0, 0)
    request = AttachToJob(id=job.id, stdin=stdin, drive=drive, recent=recent, rows=rows, columns=columns)
    try:
        status = attach(session.transport(job.at).send(request), stdin=stdin, tty=tty, detach=keys)
    except Unavailable as failure:
        hint = f"the job goes on: gear job attach {job}, gear job show {job}"
        raise Unavailable(failure.message, hint=hint) from None
    if status in (DETACHED, 128 + signal.SIGHUP):
        again = f"gear job attach{' -i' if tty else ''} {job}"
        click.echo(f"{chr(10) if status == DETACHED else ''}left: {again} follows it again", err=True)
    return status


@verb("jobs", group="Jobs")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("-a", "--all", "all_", is_flag=True, help="Also those that have ended, as long as they are kept.")
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@output_option
def jobs(hosts: tuple[str, ...], all_: bool, quiet: bool, form: str) -> None:
    """List the jobs of one or more machines, the newest first."""
    answers = list(ask_places(places(hosts), lambda at: ListJobs(all=all_)))
    print_jobs([(str(place), job) for place, answer in answers for job in answer.jobs], quiet, form)
    none = answers and not any(answer.jobs for _, answer in answers)
    if none and not all_ and form == "table" and sys.stderr.isatty():
        click.echo("none runs; gear jobs -a shows those that have ended", err=True)


job = verbs("job", group="Jobs", doc="One job: show, log, attach, wait, cancel, artifacts, remove.")
_names = click.argument("names", nargs=-1, required=True, metavar="ID...", type=JobName())
_name = click.argument("name", metavar="ID", type=JobName())


def _locators(names: tuple[str, ...]) -> list[Locator]:
    return locators(names, what="job")


@job.command("show")
@_names
@output_option
def show(names: tuple[str, ...], form: str) -> None:
    """Show jobs in full: how they ended, what they used."""
    found = list(ask(_locators(names), lambda at: GetJob(id=at.id)))
    if form in ("json", "yaml"):
        structured([with_place(answer, str(target.at)) for target, answer in found], form)
    elif form == "name":
        click.echo("\n".join(str(target) for target, _ in found))
    else:
        texts = ["\n".join(map(printable, answer.text().split("\n"))) for _, answer in found]
        click.echo("\n\n".join(texts))


@job.command("log")
@_name
@click.option("-f", "--follow", is_flag=True, help="To its end.")
@click.option("-n", "--tail", type=click.IntRange(0), default=None, metavar="LINES", help="Only the end.")
@click.option("-T", "--times", is_flag=True, help="With the time of each line.")
@output_option
def log(name: str, follow: bool, tail: int | None, times: bool, form: str) -> None:
    """Print what a job wrote, as far as it is kept: its errors to stderr."""
    (target,) = _locators((name,))
    items = session.transport(target.at).send(FollowJobLog(id=target.id, follow=follow, tail=tail))
    try:
        for item in items:
            if form in ("json", "yaml"):
                structured_line(item, form)
                continue
            text = printable(item.content) if sys.stdout.isatty() else item.content
            file = sys.stdout if item.stream == "stdout" else sys.stderr
            file.write(f"{local_time(item.time)} {text}\n" if times else f"{text}\n")
            if follow:  # else there may be a million lines, and none is waited for
                file.flush()
    finally:
        items.close()


def structured_line(item: Any, form: str) -> None:
    import json  # noqa: PLC0415 - few want it

    values = with_place(item, "")
    if form == "json":
        click.echo(json.dumps(values, ensure_ascii=False))
    else:
        structured([values], form)


@job.command("attach", cls=OtherProgram)
@_name
@click.option("-i", "--interactive", is_flag=True, help="With the standard input of this command.")
@click.option("--recent", is_flag=True, help="From now on, not from the beginning.")
@_detach_keys
@own_failures
def attach_(name: str, interactive: bool, recent: bool, leave_by: str) -> int:
    """Follow a job to its end, as 'gear run' does; its exit code is passed on."""
    keys = parse_keys(leave_by)
    (target,) = _locators((name,))
    found = session.transport(target.at).send(GetJob(id=target.id))
    tty = found.tty and interactive
    stdin = interactive and found.stdin
    status = _followed(target, stdin=stdin, tty=tty, drive=False, recent=recent, keys=keys)
    return 0 if status == DETACHED else status


@job.command("wait", cls=OtherProgram)
@_name
@click.option("--timeout", type=click.FloatRange(min=0), default=None, metavar="SECONDS", help="Wait no longer.")
@own_failures
def wait(name: str, timeout: float | None) -> int:
    """Wait for a job's end; its exit code is passed on."""
    import time  # noqa: PLC0415 - few want it

    (target,) = _locators((name,))
    transport, until = session.transport(target.at), None if timeout is None else time.monotonic() + timeout
    while (found := transport.send(GetJob(id=target.id))).state != "ended":
        if until is not None and time.monotonic() >= until:
            raise TimedOut(f"job {target} has not ended within {timeout:g} s", hint="it goes on")
        time.sleep(0.2)
    return found.result.status if found.result is not None else OWN_FAILURE


@job.command("artifacts")
@_name
@click.option("--to", "folder", default="", metavar="FOLDER", help="Put the files there. [default: tar to stdout]")
def artifacts(name: str, folder: str) -> None:
    """Hand out the files that a job has left in the folder that --artifacts named."""
    from geard.jobs import handing_back  # noqa: PLC0415 - few want it

    (target,) = _locators((name,))
    if folder:
        handing_back.unpack(session.transport(target.at), target.id, folder)
    elif sys.stdout.isatty():
        raise Invalid("an archive is nothing for a terminal", hint="--to FOLDER, or gear job artifacts ID | tar x")
    else:
        handing_back.write(session.transport(target.at), target.id, sys.stdout.buffer)


def _change(names: tuple[str, ...], make: Callable[[Locator], Request[Any]], *, follow: bool) -> None:
    for _, answer in ask(_locators(names), make, follow=follow):
        if not follow or "being" not in answer.text():
            click.echo(answer.text())


@job.command("cancel")
@_names
@click.option("--no-wait", is_flag=True, help="Return as soon as the request is on record.")
def cancel(names: tuple[str, ...], no_wait: bool) -> None:
    """End jobs: TERM, and KILL after their stop timeout."""
    _change(names, lambda at: CancelJob(id=at.id), follow=not no_wait)


@job.command("remove")
@_names
def remove(names: tuple[str, ...]) -> None:
    """Forget jobs that have ended: output, result, artifacts. By rule they go by themselves, in a week."""
    _change(names, lambda at: RemoveJob(id=at.id), follow=False)


@job.command("tidy", hidden=True)
def tidy() -> None:
    """Asked by timers, where no agent runs."""
    session.transport(Place()).send(TidyJobs())
