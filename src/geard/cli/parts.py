"""How rooms add their options to `gear install`, which knows none of them by name.

A room's `commands.py` calls `adds_to_install`; the command collects the options when it is shown or parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from geard import catalog
from geard.words import Part

F = TypeVar("F", bound=Callable[..., Any])


def engine_option(command: F) -> F:
    """Adds `--engine`; empty where it is not given: the machine's default."""
    return click.option("--engine", default="", metavar="ENGINE", help="podman or docker.")(command)


LIMIT_OPTIONS = (
    click.option("--memory", default="", metavar="SIZE", help="Such as 256m or 2g; 0 for no limit of its own."),
    click.option(
        "--memory-swap",
        default="",
        metavar="SIZE",
        help="Memory and swap together: as much as --memory for no swap; 0 for no limit. [default: twice that]",
    ),
    click.option("--cpus", type=float, default=None, metavar="N", help="Such as 0.5."),
    click.option("--pids", type=int, default=None, metavar="N", help="How many processes and threads."),
    click.option("--io-read", default="", metavar="SIZE", help="Bytes a second from the disk; 0 for no limit."),
    click.option("--io-write", default="", metavar="SIZE", help="Bytes a second to the disk, with cgroups v2."),
    click.option("--quota", default="", metavar="SIZE", help="All of its own volumes together; 0 for no limit."),
)
"""what a gear may use, as `parse_limits` of containers reads it"""

Make = Callable[[Mapping[str, Any], Mapping[str, str]], Part | None]


@dataclass(frozen=True)
class _Addition:
    options: tuple[click.Parameter, ...]
    make: Make


_additions: list[_Addition] = []


def _all() -> list[_Addition]:
    catalog.doors("commands")
    return sorted(_additions, key=lambda addition: addition.make.__module__)


def adds_to_install(make: Make, options: Sequence[click.Parameter]) -> None:
    """`make(options given, VARIABLE=VALUE arguments)` makes the room's part of the request, or None."""
    _additions.append(_Addition(tuple(options), make))


class InstallCommand(click.Command):
    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        added = [option for addition in _all() for option in addition.options]
        return [*own[:-1], *added, *own[-1:]]


def parts_from(given: Mapping[str, Any], variables: Mapping[str, str]) -> tuple[Part, ...]:
    made = (addition.make(given, variables) for addition in _all())
    return tuple(part for part in made if part is not None)
