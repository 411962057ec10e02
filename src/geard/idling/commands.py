"""`gear idle`."""

from __future__ import annotations

import click

from geard.cli.asking import locators
from geard.cli.changing import change
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import outcome_option
from geard.cli.together import GearsCommand
from geard.idling.requests import Depth, IdleContainer


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
