"""The verbs of a gear's life."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from geard.cli.asking import ask, ask_places, locators, places, session
from geard.cli.changing import change
from geard.cli.completion import GearName, lists_gears
from geard.cli.main import verb
from geard.cli.output import outcome_option, output_option, printable, structured, table, with_place
from geard.cli.parts import LIMIT_OPTIONS, InstallCommand, engine_option, parts_from
from geard.cli.together import GearsCommand
from geard.containers.limits import parse_limits
from geard.containers.requests import (
    CompleteContainer,
    ContainerStatus,
    DeleteContainer,
    GetContainerStatus,
    GetHistory,
    InstallContainer,
    ListContainers,
    ListedContainer,
    PreviewInstall,
    PurgeContainers,
    RestartContainer,
    RollBackContainer,
    ShowDefinition,
    StartContainer,
    StartWanted,
    StopContainer,
    UpdateContainer,
)
from geard.containers.slices import SLICES
from geard.containers.volumes import parse_volumes
from geard.environments.file import parse_argument
from geard.failures import Invalid
from geard.identifiers import Locator, parse_place
from geard.ports.pairs import describe_mapping
from geard.ports.requests import GetPorts
from geard.request import Answer

F = TypeVar("F", bound=Callable[..., Any])

no_wait = click.option("--no-wait", is_flag=True, help="Return as soon as the request is on record.")


_RESTART = click.Choice(["always", "on-failure", "no"])
_DESCRIBED = (
    engine_option,
    click.option(
        "-v", "--volumes", multiple=True, metavar="PATH|HOST:PATH[:ro]", help="Keep PATH, or show the host's."
    ),
    click.option("--slice", default="", metavar="SLICE", help=f"One of {', '.join(SLICES)}."),
    click.option("--restart", type=_RESTART, default=None, help="When it ends by itself. [default: always]"),
    *LIMIT_OPTIONS,
    click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label, for you and programs."),
    click.option("--entrypoint", default=None, metavar="PROGRAM", help="Run this, not the image's entry point."),
    click.option(
        "--host-user",
        default="",
        metavar="USER[:ID]",
        help="Root inside, or user ID, is that user of the host; - for none.",
    ),
    click.option(
        "--stop-timeout", type=int, default=None, metavar="SECONDS", help="From TERM to KILL. [default: 10]"
    ),
)


def _described(command: F) -> F:
    """Adds the options that say what a gear is like: those of install and of update."""
    for option in reversed(_DESCRIBED):
        command = option(command)
    return command


@verb(
    "install",
    group="Gears",
    cls=InstallCommand,
    options_metavar="[OPTIONS]",
)
@click.argument("arguments", nargs=-1, required=True, metavar="IMAGE NAME... [VARIABLE=VALUE]... [-- COMMAND...]")
@click.option("--start", is_flag=True, help="Start it, now and after every boot.")
@click.option("--simple", is_flag=True, help="Share the host's users instead of a range of its own.")
@click.option("--isolate", is_flag=True, help="Users of its own; the default, said aloud.")
@_described
@click.option("--socket-activated", is_flag=True, hidden=True)
@click.option("--print-unit", is_flag=True, help="Print the unit it would get, and write nothing.")
@click.option("--dry-run", is_flag=True, help="Print all that would be written, and write nothing.")
@no_wait
@outcome_option
def install(arguments: tuple[str, ...], **given: Any) -> None:
    """Describe a container to systemd, and with --start run it.

    \b
    gear install nginx web -p 80:8080 --start
    gear install IMAGE web-1 web-2 A=B --memory 256m -- program --option
    """
    arguments, command = split_command(arguments)
    names = [argument for argument in arguments if "=" not in argument]
    variables = dict(parse_argument(argument) for argument in arguments if "=" in argument)
    if len(names) < 2:
        raise Invalid("an image and a name are needed", hint="gear install IMAGE NAME...")
    image, targets = names[0], locators(names[1:])
    if image in {target.id for target in targets}:
        raise Invalid(f"{image!r} is given as image and as name", hint="gear install IMAGE NAME...")
    if given["socket_activated"]:
        raise Invalid("socket activation is not offered", hint="publish the port: -p INTERNAL:EXTERNAL")
    wanted: dict[str, Any] = {
        "image": image,
        "started": given["start"],
        "simple": given["simple"],
        "isolate": given["isolate"],
        "command": command,
        "entrypoint": (given["entrypoint"],) if given["entrypoint"] else None,
        "volume_config": parse_volumes(given["volumes"]),
        **_words(given, variables),
    }
    if given["print_unit"] or given["dry_run"]:
        for _, preview in ask(targets, lambda at: PreviewInstall(id=at.id, **wanted)):
            click.echo(preview.unit if given["print_unit"] else preview.text())
        return
    change(
        targets,
        lambda at: InstallContainer(id=at.id, **wanted),
        given["no_wait"],
        given["form"],
        announce=True,
        more=_ports_now,
    )


def _ports_now(target: Locator, answer: Answer) -> dict[str, Any]:
    """Those that only the image can tell were not known yet when it was answered."""
    for _, ports in ask([target], lambda at: GetPorts(id=at.id)):
        return {"Ports": with_place(ports, "")["Ports"]}
    return {}


def _words(given: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """What install and update say alike."""
    return {
        "engine": given["engine"],
        "systemd_slice": given["slice"],
        "restart": given["restart"],
        "limits": parse_limits(given),
        "labels": dict(_label(text) for text in given["labels"]),
        "stop_timeout": given["stop_timeout"],
        "host_user": given["host_user"],
        "parts": parts_from(given, variables),
    }


@verb("update", group="Gears", cls=InstallCommand, options_metavar="[OPTIONS]")
@click.argument(
    "arguments",
    nargs=-1,
    required=True,
    metavar="NAME... [VARIABLE=VALUE]... [-- COMMAND...]",
    type=GearName(),
)
@click.option("--image", default="", metavar="IMAGE", help="Another image, or another tag.")
@click.option("--pull", is_flag=True, help="Ask the registry anew, though the image is here.")
@click.option("--later", is_flag=True, help="Leave what runs alone: the change comes with the next start.")
@_described
@no_wait
@outcome_option
def update(arguments: tuple[str, ...], **given: Any) -> None:
    """Change what is said here of gears that are there; nothing said, take the newest image of the same name.

    One that runs is restarted with the change; gear rollback takes it back.

    \b
    gear update web                          the newest image of its name
    gear update web --image nginx:1.27 --memory 1g MODE=production
    """
    arguments, command = split_command(arguments)
    variables = dict(parse_argument(argument) for argument in arguments if "=" in argument)
    targets = locators(argument for argument in arguments if "=" not in argument)
    if not targets:
        raise Invalid("which gear?", hint="gear update NAME...")
    entrypoint: str | None = given["entrypoint"]
    wanted: dict[str, Any] = {
        "image": given["image"],
        "renew": given["pull"],
        "command": command or None,
        "entrypoint": None if entrypoint is None else (entrypoint,) if entrypoint else (),
        "volume_config": parse_volumes(given["volumes"]) if given["volumes"] else None,
        "later": given["later"],
        **_words(given, variables),
    }
    change(
        targets,
        lambda at: UpdateContainer(id=at.id, **wanted),
        given["no_wait"],
        given["form"],
        more=_ports_now,
    )


@verb("rollback", group="Gears")
@click.argument("name", type=GearName())
@click.argument("version", required=False, default="")
@click.option("--later", is_flag=True, help="Leave what runs alone: the change comes with the next start.")
@no_wait
@outcome_option
def rollback(name: str, version: str, later: bool, no_wait: bool, form: str) -> None:
    """Bring back an earlier version of a gear: the one before, or VERSION as gear history shows it.

    Variables of its environment, secrets and the contents of volumes stay as they are.
    """
    change(
        locators([name]),
        lambda at: RollBackContainer(id=at.id, version=version, later=later),
        no_wait,
        form,
        announce=True,
        more=_ports_now,
    )


@verb("history", group="Look")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@output_option
def history(names: tuple[str, ...], form: str) -> None:
    """Show the versions of gears that are kept: what each changed, which is in force, which runs."""
    found = list(ask(locators(names), lambda at: GetHistory(id=at.id)))
    if form in ("json", "yaml"):
        structured([with_place(answer, str(target.at)) for target, answer in found], form)
        return
    if form == "name":
        click.echo("\n".join(each.version for _, answer in found for each in answer.versions))
        return
    header = ["VERSION", "WRITTEN", "STATE", "IMAGE", "CHANGES"]
    rows: list[tuple[str, ...]] = []
    for target, answer in found:
        for each in answer.versions:
            state = ", ".join([*(["installed"] if each.installed else []), *(["running"] if each.running else [])])
            cells = (each.version, each.written[:19] + "Z", state, each.image, "; ".join(each.changes))
            rows.append((str(target), *cells) if len(found) > 1 else cells)
    if found:
        click.echo(table(["NAME", *header] if len(found) > 1 else header, rows))


def split_command(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands before and behind the first `--`, which click itself drops."""
    count = len(session.behind)
    return (arguments, ()) if not count else (arguments[:-count], arguments[-count:])


def _calm(text: str) -> str:
    """Lines that may hold labels and log text, without what would act on a terminal."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Invalid(f"{text!r} is no label", hint="--label NAME=VALUE")
    return name, value


@lists_gears
def _names(host: str) -> list[str]:
    answer = session.transport(parse_place(host)).send(ListContainers(all=True))
    return [row.id for row in answer.containers]


def _simple_change(name: str, request: Any, doc: str) -> None:
    @verb(name, group="Gears", help=doc, cls=GearsCommand)
    @click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
    @no_wait
    @outcome_option
    def command(names: tuple[str, ...], no_wait: bool, form: str) -> None:
        change(locators(names), lambda at: request(id=at.id), no_wait, form)


_simple_change("start", StartContainer, "Have gears run, now and after every boot; see that they do.")
_simple_change("restart", RestartContainer, "Stop gears and start what is installed.")


@verb("stop", group="Gears", cls=GearsCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=None,
    metavar="SECONDS",
    help="Wait no longer; the stop goes on.",
)
@click.option("-n", "--no-wait", is_flag=True, help="Return as soon as the request is on record.")
@outcome_option
def stop(names: tuple[str, ...], timeout: float | None, no_wait: bool, form: str) -> None:
    """Have gears stopped, now and after every boot; say how each ended."""
    change(locators(names), lambda at: StopContainer(id=at.id, timeout=timeout), no_wait, form)


@verb("delete", group="Gears", cls=GearsCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@click.option("--purge", is_flag=True, help="Its volumes and environment too; there is no way back.")
@no_wait
@outcome_option
def delete(names: tuple[str, ...], purge: bool, no_wait: bool, form: str) -> None:
    """Remove gears; what is not there is fine. Volumes and environments are kept for a gear of the same name."""
    change(locators(names), lambda at: DeleteContainer(id=at.id, purge=purge), no_wait, form, always=True)


@verb("purge", group="This host")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@no_wait
def purge(hosts: tuple[str, ...], yes: bool, no_wait: bool) -> None:
    """Stop every gear of a machine, now and after every boot. Nothing is deleted."""
    where = places(hosts)
    names = ", ".join(str(place) or "this machine" for place in where)
    if not yes and sys.stdin.isatty():
        click.confirm(f"Stop every gear of {names}?", abort=True)
    for place, answer in ask_places(where, lambda at: PurgeContainers(), follow=not no_wait):
        click.echo(f"{str(place) or 'this machine'}: {answer.text()}")


@verb("status", group="Look", cls=GearsCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@click.option("-n", "--lines", type=click.IntRange(0, 10_000), default=10, show_default=True, help="Of the log.")
@click.option("-t", "--table", "as_table", is_flag=True, help="A line each, also for one gear.")
@output_option
def status(names: tuple[str, ...], lines: int, as_table: bool, form: str) -> None:
    """Show one gear in full, or several as a table."""
    targets = locators(names)
    found: list[tuple[Locator, ContainerStatus]] = list(
        ask(targets, lambda at: GetContainerStatus(id=at.id, lines=lines))
    )
    if form in ("json", "yaml"):
        structured([with_place(answer, str(target.at)) for target, answer in found], form)
    elif form == "name":
        click.echo("\n".join(str(target) for target, _ in found))
    elif form == "table" and len(targets) == 1 and not as_table:
        for _, answer in found:
            click.echo(_calm(answer.text()))
    elif form == "wide":
        click.echo(("\n" + "-" * 13 + "\n").join(_calm(answer.text()) for _, answer in found))
    elif found:
        rows = [
            (str(t), a.active_state, a.sub_state, a.since, str(a.restarts), a.image, "; ".join(a.advice[:1]))
            for t, a in found
        ]
        click.echo(table(("NAME", "STATE", "SUB", "SINCE", "RESTARTS", "IMAGE", "NOTE"), rows))


@verb("list-units", "list", "ps", group="Look")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("-a", "--all", "all_", is_flag=True, help="Also gears that systemd has not loaded: stopped ones.")
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@output_option
def list_units(hosts: tuple[str, ...], all_: bool, quiet: bool, form: str) -> None:
    """List the gears of one or more machines."""
    where = places(hosts)
    answers = list(ask_places(where, lambda at: ListContainers(all=all_)))
    found: list[tuple[str, ListedContainer]] = [
        (str(place), row) for place, answer in answers for row in answer.containers
    ]
    found.sort(key=lambda item: (item[1].id, item[0]))
    names = [f"{place}/{row.id}" if place else row.id for place, row in found]
    if quiet or form == "name":
        click.echo("\n".join(names), nl=bool(names))
    elif form in ("json", "yaml"):
        structured([with_place(row, place) for place, row in found], form)
    elif answers:
        header = ["ID", "SERVER", "ACTIVE", "SUB", "LOAD", "TYPE", "PORTS", "IMAGE"]
        rows = [
            (
                r.id,
                place,
                r.active_state,
                r.sub_state,
                r.load_state,
                r.job_type,
                describe_mapping(r.ports),
                r.image,
            )
            for place, r in found
        ]
        click.echo(table(header, rows))
        if not (rows or all_) and sys.stderr.isatty():
            click.echo("nothing runs; gear list -a shows all that is installed", err=True)


@verb("cat", group="Look")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@output_option
def cat(names: tuple[str, ...], form: str) -> None:
    """Print the definition in force: the unit, an admin's drop-ins, what the engine is given."""
    found = list(ask(locators(names), lambda at: ShowDefinition(id=at.id)))
    if form in ("json", "yaml"):
        structured([with_place(answer, str(target.at)) for target, answer in found], form)
        return
    for _, answer in found:
        click.echo(_calm(answer.text()) if sys.stdout.isatty() else answer.text())


@verb("complete", group="Shell", hidden=True)
@click.argument("name")
def complete(name: str) -> None:
    """Asked by a gear's start hook: bring its image here."""
    for _ in ask(locators([name]), lambda at: CompleteContainer(id=at.id), follow=True):
        pass


@verb("boot", group="This host", hidden=True)
def boot() -> None:
    """Asked by geard-boot.service: start every gear that is to run."""
    for _, answer in ask_places(places(()), lambda at: StartWanted(), follow=True):
        click.echo(answer.text())
