"""`--with FILE`: a verb takes every gear that a file names, beside those on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

Reader = Callable[[str], Iterable[str]]
_readers: list[Reader] = []


def reads_names(reader: Reader) -> Reader:
    """The room that knows such files registers `reader(path)` here: it gives NAMEs as a command line has them."""
    _readers.append(reader)
    return reader


class GearsCommand(click.Command):
    """A verb about gears, whose arguments are their names."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        option = click.Option(
            ["--with", "with_file"],
            metavar="FILE",
            type=click.Path(),
            expose_value=False,
            help="Every gear of that deployment.",
        )
        own = super().get_params(ctx)
        return [*own[:-1], option, *own[-1:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if ctx.resilient_parsing else _expanded(args))


def _expanded(args: list[str]) -> list[str]:
    """`args` with the names that its files hold in the place of `--with FILE`."""
    found: list[str] = []
    rest = iter(args)
    for word in rest:
        option, equals, path = word.partition("=")
        if word == "--":
            return [*found, word, *rest]
        if option != "--with" or (not equals and not (path := next(rest, ""))):
            found.append(word)
        else:
            found += [name for reader in _readers for name in reader(path)]
    return found
