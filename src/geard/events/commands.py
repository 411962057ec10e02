"""`gear events`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import datetime

import click
import msgspec

from geard.cli.asking import session
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import with_place
from geard.cli.resuming import reconnect_option, resumed
from geard.events.requests import Event, FollowEvents
from geard.identifiers import LOCAL, Place, parse_locator, parse_place
from geard.logs.lines import calm, json_line, local_time
from geard.logs.side_by_side import side_by_side
from geard.logs.times import spelt_for_hosts
from geard.request import Stream

USUAL = "1h"


@verb("events", group="Look")
@click.argument("targets", nargs=-1, metavar="[NAME|HOST/]...", type=GearName())
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens until Ctrl-C.")
@click.option(
    "--since",
    default="",
    metavar="TIME",
    help=f"Nothing older: '2026-11-23 19:43', 19:43, today, 10m, 2h (else {USUAL}; now with --follow).",
)
@click.option("--until", default="", metavar="TIME", help="Nothing newer.")
@click.option(
    "--after-cursor", default="", metavar="CURSOR", help="Only what came after the event of this cursor."
)
@click.option("--kind", default="", metavar="KIND,...", help="Only these: started, stopped, failed, deleted, …")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["short", "json"]),
    default="short",
    help="For people, or one JSON object a line.",
)
@reconnect_option
def events(
    targets: tuple[str, ...],
    follow: bool,
    since: str,
    until: str,
    after_cursor: str,
    kind: str,
    form: str,
    no_reconnect: bool,
) -> None:
    """Print what happened to gears: installed, started, failed, deleted, whoever did it.

    \b
    gear events                   on this machine, in the last hour
    gear events -f web-1 web-2    what happens to these two from now on
    gear events h1/ h2/           everything on two hosts
    """
    asked = asked_places(targets)
    if after_cursor and len(asked) > 1:
        raise click.UsageError("a cursor is a place in one host's journal: ask one host with --after-cursor")
    if not (since or after_cursor):
        since = "now" if follow else USUAL
    now = datetime.now().astimezone()
    since, until = spelt_for_hosts(since, now), spelt_for_hosts(until, now)

    def opener(place: Place, gears: tuple[str, ...]) -> Callable[[], Iterable[Event]]:
        transport = session.transport(place)
        question = FollowEvents(
            gear=",".join(gears),
            kind=kind,
            follow=follow or None,
            timeout="" if follow else "0",
            since=since,
            until=until,
            after=after_cursor,
        )

        def opened(after: str, since: str) -> Stream[Event]:
            if after or since:
                return transport.send(msgspec.structs.replace(question, since=since, after=after))
            return transport.send(question)

        return lambda: resumed(opened, str(place)) if follow and not no_reconnect else opened("", "")

    places = list(asked)
    terminal = sys.stdout.isatty()
    series = [(str(place) or "this machine", opener(place, tuple(asked[place]))) for place in places]
    try:
        for number, event in side_by_side(series):
            place = str(places[number])
            if form == "json":
                click.echo(json_line(with_place(event, place), for_terminal=terminal))
            else:
                click.echo(render_event(event, place))
    except KeyboardInterrupt:
        if not follow:
            raise


def asked_places(targets: Iterable[str]) -> dict[Place, list[str]]:
    """Which gears of which hosts are meant; none of a host means all. Raises Invalid."""
    asked: dict[Place, list[str]] = {}
    whole = set[Place]()
    for target in targets:
        if target.endswith("/"):
            place = parse_place(target.removesuffix("/"))
            whole.add(place)
            asked.setdefault(place, [])
        else:
            locator = parse_locator(target)
            asked.setdefault(locator.at, []).append(locator.id)
    return {place: [] if place in whole else gears for place, gears in asked.items()} or {LOCAL: []}


def render_event(event: Event, place: str) -> str:
    """For people, in their own time zone; `place` is the host that was asked, empty for this machine."""
    where = f"{place}/" if place else ""
    about = f"{where}{event.id}" if event.id else event.image or where.rstrip("/")
    words = f"{local_time(event.time)}  {event.kind:<11}  {about}" + (
        f"  {event.message}" if event.message else ""
    )
    return calm(words.rstrip()).replace("\n", " ") + (f"  ({event.by})" if event.by else "")
