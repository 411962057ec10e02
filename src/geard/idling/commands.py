"""`gear idle`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from geard.cli.asking import locators
from geard.cli.changing import change
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import outcome_option
from geard.cli.parts import adds_to_install
from geard.cli.together import GearsCommand
from geard.idling.policy import parse_after
from geard.idling.requests import Depth, IdleContainer, IdlePart, IdlePolicy
from geard.words import Part


def _part(given: Mapping[str, Any], variables: Mapping[str, str]) -> Part | None:
    after: str | None = given["idle_after"]
    depth: Depth | None = given["idle_depth"]
    if after is None and depth is None:
        return None
    return IdlePart(value=IdlePolicy(after=None if after is None else parse_after(after), depth=depth))


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
