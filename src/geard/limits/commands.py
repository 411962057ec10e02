"""`gear limit`, `gear top`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from geard.cli.asking import locators
from geard.cli.changing import change
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import outcome_option
from geard.cli.parts import LIMIT_OPTIONS
from geard.cli.together import GearsCommand
from geard.containers.limits import parse_limits
from geard.limits.requests import LimitContainer

F = TypeVar("F", bound=Callable[..., Any])


def _limits(command: F) -> F:
    for option in reversed(LIMIT_OPTIONS):
        command = option(command)
    return command


@verb("limit", group="Gears", cls=GearsCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@_limits
@click.option("--no-wait", is_flag=True, help="Return as soon as the request is on record.")
@outcome_option
def limit(names: tuple[str, ...], no_wait: bool, form: str, **given: Any) -> None:
    """Change what gears may use, while they run, without a restart. Limits not spoken of stay.

    It is a version as an update makes one: gear rollback takes it back. A gear that holds more just now than it
    is to have is left as it is.

    \b
    gear limit web --memory 1g --cpus 0.5
    gear limit web db --pids 200
    """
    said = msgspec.structs.asdict(parse_limits(given))
    change(locators(names), lambda at: LimitContainer(id=at.id, **said), no_wait, form)


@verb("top", group="Look", cls=GearsCommand)
@click.argument("names", nargs=-1, metavar="[NAME...]", type=GearName())
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="All gears of that machine. [default: this]")
@click.option("-n", "--times", type=click.IntRange(1), default=None, metavar="N", help="Show it N times, and end.")
@click.option(
    "-d", "--delay", type=click.FloatRange(0.1, 3_600), default=2.0, metavar="SECONDS",
    help="From one to the next. [default: 2]",
)  # fmt: skip
@click.option(
    "-s", "--sort", type=click.Choice(["cpu", "memory", "pids", "io", "net", "name"]), default="cpu",
    help="What comes first. [default: cpu]",
)  # fmt: skip
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json", "yaml", "name"]), default="table",
    help="How to print it.",
)  # fmt: skip
def top(
    names: tuple[str, ...], hosts: tuple[str, ...], times: int | None, delay: float, sort: str, form: str
) -> None:
    """Show what gears that run use, and may use: on a terminal again and again, else once. Ctrl-C ends it."""
    from geard.limits.top import show  # noqa: PLC0415 - its 10 ms are for those who look

    show(locators(names), hosts, times, delay, sort, form)
