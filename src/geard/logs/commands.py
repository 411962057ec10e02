"""`gear log`."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import click

from geard.cli.asking import locators, session, tell
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import with_place
from geard.cli.together import GearsCommand
from geard.failures import Failure, Invalid
from geard.identifiers import Locator
from geard.logs.lines import calm, json_line, local_time, render_line
from geard.logs.merging import Merge
from geard.logs.requests import FollowLog, LogLine
from geard.logs.times import spelt_for_hosts
from geard.request import Stream

USUAL_LINES = 100
USUAL_LINES_FOLLOWING = 10
AHEAD = 1_000  # lines of one gear that may wait for those of others

Lines = Iterator[tuple[Locator, LogLine]]


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
def log(
    names: tuple[str, ...], follow: bool, lines: str, since: str, until: str, after_cursor: str, form: str
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
    try:
        for target, line in _lines(targets, question):
            show(target, line)
    except KeyboardInterrupt:
        if not follow:
            raise


def _lines(targets: Sequence[Locator], question: Callable[[Locator], FollowLog]) -> Lines:
    if len(targets) > 1:
        yield from _merged(targets, question)
        return
    # No thread, so that Ctrl-C ends the wait at once.
    for target in targets:
        for line in _opened(target, question(target)):
            yield target, line


def _opened(target: Locator, question: FollowLog) -> Stream[LogLine]:
    return session.transport(target.at).send(question)


def _merged(targets: Sequence[Locator], question: Callable[[Locator], FollowLog]) -> Lines:
    """The logs side by side, each read by a thread that ends with it, or with the program."""
    news: queue.SimpleQueue[tuple[int, LogLine | Failure | None]] = queue.SimpleQueue()
    ahead = [threading.BoundedSemaphore(AHEAD) for _ in targets]

    def read(number: int) -> None:
        try:
            for line in _opened(targets[number], question(targets[number])):
                ahead[number].acquire()
                news.put((number, line))
        except Failure as failure:
            news.put((number, failure))
        finally:
            news.put((number, None))

    asked = datetime.now().astimezone()
    merge = Merge[LogLine](len(targets), time.monotonic())
    for number in range(len(targets)):
        threading.Thread(target=read, args=(number,), name=f"log {number}", daemon=True).start()
    while not merge.done:
        for number, line in _next(news, merge.due(time.monotonic())):
            if isinstance(line, LogLine):
                live = datetime.fromisoformat(line.time) >= asked
                merge.put(number, line.time, line, time.monotonic(), live=live)
            elif line is None:
                merge.end(number)
            else:
                tell(line, str(targets[number]))
        for number, line in merge.take(time.monotonic()):
            ahead[number].release()
            yield targets[number], line


def _next(
    news: queue.SimpleQueue[tuple[int, LogLine | Failure | None]], patience: float | None
) -> list[tuple[int, LogLine | Failure | None]]:
    """All that has come, waiting for the first so long."""
    found: list[tuple[int, LogLine | Failure | None]] = []
    try:
        found.append(news.get(timeout=patience))
        while True:
            found.append(news.get_nowait())
    except queue.Empty:
        return found


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
