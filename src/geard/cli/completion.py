"""Completion for bash, zsh and fish, with the names of the gears that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class

from geard.cli.main import verb
from geard.failures import Failure

Lister = Callable[[str], Iterable[str]]
_listers: list[Lister] = []


def lists_gears(lister: Lister) -> Lister:
    """The room that knows which gears there are registers `lister(host)` here; an empty host is this machine."""
    _listers.append(lister)
    return lister


class Name(click.ParamType[str]):
    """NAME, or HOST/NAME, of what `lister(host)` finds there; an empty host is this machine."""

    name = "name"

    def __init__(self, lister: Lister) -> None:
        self._lister = lister

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        host, slash, start = incomplete.rpartition("/")
        try:
            found = list(self._lister(host))
        except Failure:
            return []
        return [CompletionItem(f"{host}{slash}{name}") for name in found if name.startswith(start)]


class GearName(Name):
    """A gear."""

    def __init__(self) -> None:
        super().__init__(lambda host: [name for lister in _listers for name in lister(host)])


@verb("completion", group="Shell")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete gear's words: source <(gear completion bash)."""
    kind = get_completion_class(shell)
    assert kind is not None
    context = click.get_current_context().find_root()
    click.echo(kind(context.command, {}, "gear", "_GEAR_COMPLETE").source())
