"""`gear log`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import click
import msgspec

from geard.cli.asking import locators, session
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import with_place
from geard.cli.resuming import reconnect_option, resumed
from geard.cli.together import GearsCommand
from geard.failures import Invalid
from geard.identifiers import Locator
from geard.logs.lines import calm, json_line, local_time, render_line
from geard.logs.requests import FollowLog, LogLine
from geard.logs.side_by_side import side_by_side
from geard.logs.times import spelt_for_hosts
from geard.request import Stream

USUAL_LINES = 100
USUAL_LINES_FOLLOWING = 10


@verb("log", "logs", group="Look", cls=GearsCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    default="",
    metavar="N",
    help=f"The last N lines, or 'all' (else {USUAL_LINES}; {USUAL_LINES_FOLLOWING} with --follow; "
    "all with --since or --after-cursor).",
)
@click.option(
    "--since", default="", metavar="TIME", help="Nothing older: '2026-11-23 19:43', 19:43, today, 10m, 2h."
)
@click.option("--until", default="", metavar="TIME", help="Nothing newer.")
@click.option("--after-cursor", default="", metavar="CURSOR", help="Only what came after the line of this cursor.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["short", "cat", "json"]),
    default="short",
    help="With time and program, the message alone, or one JSON object a line.",
)
@reconnect_option
def log(
    names: tuple[str, ...],
    follow: bool,
    lines: str,
    since: str,
    until: str,
    after_cursor: str,
    form: str,
    no_reconnect: bool,
) -> None:
    """Print what gears write and what systemd says about them; several are merged by time."""
    targets = list(dict.fromkeys(locators(names)))
    if after_cursor and len(targets) > 1:
        raise Invalid("a cursor is a place in one log", hint="ask for one gear with --after-cursor")
    if not (lines or since or after_cursor):
        lines = str(USUAL_LINES_FOLLOWING if follow else USUAL_LINES)
    now = datetime.now().astimezone()
    since, until = spelt_for_hosts(since, now), spelt_for_hosts(until, now)

    def question(target: Locator) -> FollowLog:
        return FollowLog(
            id=target.id,
            follow=follow or None,
            timeout="" if follow else "0",
            lines=lines,
            since=since,
            until=until,
            after=after_cursor,
        )

    show = _shower(form, targets)
    resume = follow and not no_reconnect
    try:
        for number, line in side_by_side([(str(t), _opener(t, question, resume=resume)) for t in targets]):
            show(targets[number], line)
    except KeyboardInterrupt:
        if not follow:
            raise


def _opener(
    target: Locator, question: Callable[[Locator], FollowLog], *, resume: bool
) -> Callable[[], Iterable[LogLine]]:
    transport = session.transport(target.at)

    def opened(after: str, since: str) -> Stream[LogLine]:
        asked = question(target)
        if after or since:
            asked = msgspec.structs.replace(asked, lines="", since=since, after=after)
        return transport.send(asked)

    return lambda: resumed(opened, str(target.at)) if resume else opened("", "")


def _shower(form: str, targets: Sequence[Locator]) -> Callable[[Locator, LogLine], None]:
    many = len(targets) > 1
    width = max(len(str(target)) for target in targets)
    terminal = sys.stdout.isatty()

    def show(target: Locator, line: LogLine) -> None:
        if form == "json":
            click.echo(json_line(with_place(line, str(target.at)), for_terminal=terminal))
            return
        if form == "cat":
            text = calm(line.message) if terminal else line.message
        else:
            text = render_line(local_time(line.time), line.identifier, line.pid, line.message)
        prefix = f"{target!s:{width}}  " if many else ""
        click.echo("\n".join(prefix + part for part in text.split("\n")) if many else text)

    return show
