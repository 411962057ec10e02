"""`gear idle`, `gear wake-time`."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import click

from geard.cli.asking import ask, locators
from geard.cli.changing import change
from geard.cli.completion import GearName, Name
from geard.cli.main import verb
from geard.cli.output import outcome_option, output_option, structured, table, with_place
from geard.cli.parts import adds_to_install
from geard.cli.together import GearsCommand
from geard.idling.policy import check_interfaces, check_sources, parse_after, parse_span
from geard.idling.requests import Depth, GetWakeTime, IdleContainer, IdlePart, IdlePolicy, WakeWhen
from geard.idling.waking import STEPS
from geard.words import Part


def _part(given: Mapping[str, Any], variables: Mapping[str, str]) -> Part | None:
    after: str | None = given["idle_after"]
    depth: Depth | None = given["idle_depth"]
    span: str | None = given["asleep"]
    sources: tuple[str, ...] = given["wake_from"]
    interfaces: tuple[str, ...] = given["wake_interface"]
    udp: bool | None = given["wake_udp"]
    when: WakeWhen | None = given["wake_when"]
    if (after, depth, span, udp, when) == (None,) * 5 and not sources and not interfaces:
        return None
    return IdlePart(
        value=IdlePolicy(
            after=None if after is None else parse_after(after),
            depth=depth,
            asleep=None if span is None else "" if parse_span(span) is None else span.strip(),
            wake_from=(() if sources == ("all",) else check_sources(sources)) if sources else None,
            wake_interfaces=(() if interfaces == ("all",) else check_interfaces(interfaces))
            if interfaces
            else None,
            wake_udp=udp,
            wake_when=when,
        )
    )


def _interfaces(host: str) -> list[str]:
    """This machine's, whichever the gear's is."""
    return [] if host else sorted(name for _, name in socket.if_nameindex() if name != "lo")


adds_to_install(
    _part,
    [
        click.Option(
            ["--idle-after"],
            metavar="TIME",
            help="Idle after so long without a connection: 15m; 'never'. The next connection wakes it.",
        ),
        click.Option(
            ["--idle-depth"], type=click.Choice(["stop", "freeze"]), help="End its program then, or stand still."
        ),
        click.Option(
            ["--asleep"],
            metavar="SPAN",
            help="22:00-06:00: then a minute without a connection is enough; or 'never'.",
        ),
        click.Option(
            ["--wake-from"],
            multiple=True,
            metavar="CIDR",
            help="Only connections from there wake it, others are refused; 'all' ends that.",
        ),
        click.Option(
            ["--wake-interface"],
            multiple=True,
            metavar="NAME",
            type=Name(_interfaces),
            help="Only connections that come in by it wake it: eth0, wg*; 'all' ends that.",
        ),
        click.Option(
            ["--wake-udp/--no-wake-udp"],
            default=None,
            help="A datagram to one of its UDP ports wakes it too, and is held until it listens.",
        ),
        click.Option(
            ["--wake-when"],
            type=click.Choice(["listens", "ready"]),
            help="Up when its program listens; or when that says READY=1 to $NOTIFY_SOCKET (podman).",
        ),
    ],
)


@verb("idle", group="Gears", cls=GearsCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@click.option(
    "--depth",
    type=click.Choice(["stop", "freeze"]),
    default="stop",
    show_default=True,
    help="End its program, or have it stand still.",
)
@click.option("--no-wait", is_flag=True, help="Return as soon as the request is on record.")
@outcome_option
def idle(names: tuple[str, ...], depth: Depth, no_wait: bool, form: str) -> None:
    """Have gears cost nothing until somebody connects to one of their ports: then they start.

    gear start, stop and restart end that.
    """
    change(locators(names), lambda at: IdleContainer(id=at.id, depth=depth), no_wait, form)


@verb("wake-time", group="Look")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@output_option
def wake_time(names: tuple[str, ...], form: str) -> None:
    """Show where the time went when a connection last woke a gear: milliseconds since its first packet came."""
    found = list(ask(locators(names), lambda at: GetWakeTime(id=at.id)))
    if form in ("json", "yaml"):
        structured([with_place(answer, str(target.at)) for target, answer in found], form)
        return
    if form == "name":
        click.echo("\n".join(str(target) for target, _ in found))
        return
    rows: list[tuple[str, ...]] = []
    for target, answer in found:
        before = 0.0
        for step in answer.steps:
            cells = (f"{step.ms:.1f}", f"{step.ms - before:.1f}", STEPS.get(step.name, step.name))
            rows.append((str(target), *cells) if len(found) > 1 else cells)
            before = step.ms
    if found:
        header = ["MS", "TOOK", "WHEN"]
        click.echo(table(["NAME", *header] if len(found) > 1 else header, rows))
