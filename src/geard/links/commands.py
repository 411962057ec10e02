"""`gear link`, `gear links`, and `-n` of `gear install`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from geard.cli.asking import ask, locators
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import output_option, structured, table, with_place
from geard.cli.parts import adds_to_install
from geard.failures import Invalid
from geard.identifiers import Locator
from geard.links.forms import LONGEST_WAIT, parse_inside, parse_links, waiting
from geard.links.requests import GetLinks, LinkContainer, NetworkLink, NetworkLinks
from geard.logs.times import parse_duration
from geard.words import Part

FORM = "[ALIAS=][FROM_ADDRESS:]FROM_PORT:TO_HOST:TO_PORT[/udp]"


def _links(texts: tuple[str, ...], wait: str | None) -> tuple[NetworkLink, ...] | None:
    links = parse_links(texts)
    if wait is None:
        return links
    seconds = parse_duration(wait).total_seconds()
    if not 0 <= seconds <= LONGEST_WAIT:
        raise Invalid(f"nobody waits {wait} for a link", hint="a day at most: 60s, 5m")
    if not links:
        raise Invalid("there are no links to wait for", hint=f"say which: -n {FORM}")
    return waiting(links, round(seconds))


def _part(given: Mapping[str, Any], variables: Mapping[str, str]) -> Part | None:
    links = _links(given["net_links"], given["wait_links"])
    return None if links is None else NetworkLinks(value=links)


adds_to_install(
    _part,
    [
        click.Option(
            ["-n", "--net-links"],
            multiple=True,
            metavar=FORM,
            help="Lead an address and port inside the gear (127.0.0.1 where none is said) to another host's;"
            " 'none' for no link.",
        ),
        click.Option(["--wait-links"], metavar="TIME", help="Starts wait so long for these links' far ends: 60s."),
    ],
)


@verb("link", group="Gears")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@click.option("-n", "--net-links", multiple=True, metavar=FORM, help="Where it leads; 'none' for no link at all.")
@click.option("--add", is_flag=True, help="Beside the links they have; else these are all.")
@click.option("--remove", multiple=True, metavar="[ADDRESS:]PORT[/udp]", help="No link here; the others stay.")
@click.option("--wait-links", default=None, metavar="TIME", help="Starts wait so long for the far ends: 60s.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the request is on record.")
@output_option
def link(
    names: tuple[str, ...],
    net_links: tuple[str, ...],
    add: bool,
    remove: tuple[str, ...],
    wait_links: str | None,
    no_wait: bool,
    form: str,
) -> None:
    """Say where addresses inside gears lead, also while they run; without -n, show it.

    What is given takes the place of all links the gears had. New connections go the new way at once; those that
    are there go on while their far end lives.

    \b
    gear link -n 127.0.0.2:8081:9.8.23.14:8080 h1/web     127.0.0.2:8081 inside is 9.8.23.14:8080
    gear link --add -n db=5432:h2:4001 web-1 web-2        127.0.0.1:5432 too; DB_PORT_5432_TCP=…
    gear link --remove 127.0.0.2:8081 web
    gear link -n none web
    """
    targets = locators(names)
    links = _links(net_links, wait_links)
    if links is None and not remove:
        if add:
            raise Invalid("there is nothing to add", hint=f"say what: -n {FORM}")
        _show(targets, form)
        return
    gone = tuple(parse_inside(text.strip()) for item in remove for text in item.split(","))
    programs = form in ("json", "yaml")
    follow = not (no_wait or programs)
    answers: list[dict[str, Any]] = []
    for target, answer in ask(
        targets,
        lambda at: LinkContainer(id=at.id, network_links=links or (), add=add, remove=gone),
        follow=follow,
        announce=True,
    ):
        if programs:
            answers += [with_place(gear, str(target.at)) for gear in answer.links]
        elif not follow:
            click.echo(answer.text())
    if programs:
        structured(answers, form)


@verb("links", group="Look")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@output_option
def links(names: tuple[str, ...], form: str) -> None:
    """Show where the links of gears lead, and whether anything answers there."""
    _show(locators(names), form)


def _show(targets: list[Locator], form: str) -> None:
    found = list(ask(targets, lambda at: GetLinks(id=at.id)))
    if form in ("json", "yaml"):
        structured([with_place(answer, str(target.at)) for target, answer in found], form)
        return
    rows = [
        (
            str(target),
            seen.place,
            seen.target,
            seen.address or "-",
            seen.state,
            "yes" if seen.in_force else "no" if answer.running else "not running",
        )
        for target, answer in found
        for seen in answer.links
    ]
    if form == "name":
        click.echo("\n".join(row[1] for row in rows))
    elif found:
        click.echo(table(("NAME", "INSIDE", "LEADS TO", "ADDRESS", "FAR END", "IN FORCE"), rows))
