"""`gear ports`, and `-p` of `gear install`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from geard.cli.asking import ask, locators
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import output_option, structured, table, with_place
from geard.cli.parts import adds_to_install
from geard.ports.pairs import parse_pairs
from geard.ports.requests import GetPorts, PublishedPorts
from geard.words import Part


def _part(given: Mapping[str, Any], variables: Mapping[str, str]) -> Part | None:
    pairs = parse_pairs(given["ports"])
    return None if pairs is None else PublishedPorts(value=pairs)


adds_to_install(
    _part,
    [
        click.Option(
            ["-p", "--ports"],
            multiple=True,
            metavar="INT:EXT[/udp]",
            help="Publish a port; EXT 0 takes a free one, 'none' publishes nothing. Else what the image exposes.",
        )
    ],
)


@verb("ports", group="Look")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@output_option
def ports(names: tuple[str, ...], form: str) -> None:
    """Show which ports of gears are published, and where."""
    found = list(ask(locators(names), lambda at: GetPorts(id=at.id)))
    if form in ("json", "yaml"):
        structured([with_place(answer, str(target.at)) | {"Id": target.id} for target, answer in found], form)
        return
    rows = [(str(t), str(p.internal), str(p.external), p.protocol) for t, answer in found for p in answer.ports]
    click.echo(table(("NAME", "INTERNAL", "EXTERNAL", "PROTOCOL"), rows))
