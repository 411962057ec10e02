"""`gear ports`, and `-p` of `gear install`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from geard.cli.asking import ask, locators
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import output_option, structured, table, with_place
from geard.cli.parts import adds_to_install
from geard.identifiers import Locator
from geard.ports.pairs import parse_inner, parse_pairs
from geard.ports.requests import ChangePorts, GetPorts, PublishedPorts
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
            metavar="INT:[ADDRESS:]EXT[/udp]",
            help="Publish a port; EXT 0 takes a free one, 'none' publishes nothing. Else what the image exposes.",
        )
    ],
)


@verb("ports", group="Look")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@output_option
def ports(names: tuple[str, ...], form: str) -> None:
    """Show which ports of gears are published, and where."""
    _show(locators(names), form)


def _show(targets: Sequence[Locator], form: str) -> None:
    found = list(ask(targets, lambda at: GetPorts(id=at.id)))
    if form in ("json", "yaml"):
        structured([with_place(answer, str(target.at)) | {"Id": target.id} for target, answer in found], form)
        return
    rows = [
        (str(target), str(pair.internal), str(pair.external), pair.protocol, pair.address or "all")
        for target, answer in found
        for pair in answer.ports
    ]
    if found:
        click.echo(table(("NAME", "INTERNAL", "EXTERNAL", "PROTOCOL", "ADDRESS"), rows))


@verb("port", group="Gears")
@click.argument("name", metavar="NAME", type=GearName())
@click.argument("pairs", nargs=-1, metavar="[INT:[ADDRESS:]EXT[/udp]]...")
@click.option("--remove", multiple=True, metavar="INT[/udp]", help="Publish this port of the gear no more.")
@click.option("--replace", is_flag=True, help="Publish what is given here, and nothing else.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the request is on record.")
@output_option
def port(
    name: str, pairs: tuple[str, ...], remove: tuple[str, ...], replace: bool, no_wait: bool, form: str
) -> None:
    """Show or change the published ports of a gear, also while it runs.

    Ports are added or moved; those not spoken of stay.

    \b
    gear port web                   show them
    gear port web 8080:9000         publish port 8080 of the gear at 9000, not where it was
    gear port web 443:0 --remove 80
    """
    targets = locators([name])
    asked = parse_pairs(pairs)
    if asked is None and not remove and not replace:
        _show(targets, form)
        return
    gone = tuple(parse_inner(text) for item in remove for text in item.split(","))
    everything = replace or asked == ()
    programs = form in ("json", "yaml")
    follow = not (no_wait or programs)
    for target, answer in ask(
        targets,
        lambda at: ChangePorts(id=at.id, ports=asked or (), remove=gone, replace=everything),
        follow=follow,
        announce=True,
    ):
        if programs:
            structured([with_place(answer, str(target.at))], form)
        elif not follow:
            click.echo(answer.text())
