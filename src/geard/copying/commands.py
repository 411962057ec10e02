"""`gear cp`."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.copying.places import Side, parse_side
from geard.failures import Invalid


class _Side(GearName):
    """NAME:PATH of a gear, or a path of this machine."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        gears = super().shell_complete(ctx, param, incomplete)
        return [*(CompletionItem(f"{item.value}:") for item in gears), CompletionItem(incomplete, type="file")]


@verb("cp", group="Gears")
@click.argument("source", metavar="SOURCE", type=_Side())
@click.argument("target", metavar="TARGET", type=_Side())
def cp(source: str, target: str) -> None:
    """Copy files and folders into a gear that runs, out of it, or from one to another.

    \b
    gear cp page.html web:/srv/www/
    gear cp h1/web:/data ./data
    gear cp web:/data h2/web:/data
    gear cp web:/data - | gzip >data.tar.gz

    A side in a gear is NAME:PATH or HOST/NAME:PATH; - is a tar on standard input or output. As cp(1) has it: into
    a folder that is there, or under the name that is not; FOLDER/. is what is in it. What comes into a gear
    belongs to the user it runs as; what comes out, to who copies.
    """
    of, to = parse_side(source), parse_side(target)
    if of.gear is None and to.gear is None:
        raise Invalid("neither of the two is in a gear", hint="a side in a gear is NAME:PATH")
    _copy(of, to)


def _copy(of: Side, to: Side) -> None:
    from geard.copying import terminal  # noqa: PLC0415 - tarfile and what it needs, 20 ms for other verbs

    terminal.copy(of, to)
