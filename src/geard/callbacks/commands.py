"""`gear callback`: what has not been delivered, and the key it is signed with."""

from __future__ import annotations

import json

import click

from geard.callbacks.requests import (
    Callback,
    GetCallback,
    GetCallbackKey,
    ListCallbacks,
    RemoveCallback,
    RetryCallback,
)
from geard.cli.asking import ask, ask_places, places, session
from geard.cli.completion import Name
from geard.cli.main import verbs
from geard.cli.output import output_option, placed, print_list, printable, structured, with_place
from geard.identifiers import Locator, parse_place, parse_request_id


def _ids(host: str) -> list[str]:
    answer = session.transport(parse_place(host)).send(ListCallbacks())
    return [callback.id for callback in answer.callbacks]


def _targets(ids: tuple[str, ...]) -> list[Locator]:
    """`[HOST/]ID`. Raises Invalid."""
    split = [text.rpartition("/") for text in ids]
    return [Locator(parse_request_id(id), parse_place(host)) for host, _, id in split]


callback = verbs(
    "callback", group="This host", doc="Look at callbacks (gear --callback URL VERB) that have not been delivered."
)


@callback.command("list")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
def list_(hosts: tuple[str, ...], form: str) -> None:
    """List what runs still, waits for its next try, or was given up (dead)."""
    found = [
        (str(place), row)
        for place, answer in ask_places(places(hosts), lambda at: ListCallbacks())
        for row in answer.callbacks
    ]
    rows = ((r.id, place, r.state, str(r.tries), r.next, _to(r), r.what, r.problem) for place, r in found)
    header = ("REQUEST", "SERVER", "STATE", "TRIES", "NEXT TRY", "TO", "WHAT", "PROBLEM")
    print_list(found, form, (placed(place, row.id) for place, row in found), header, rows)


@callback.command("show")
@click.argument("ids", nargs=-1, required=True, metavar="[HOST/]REQUEST...", type=Name(_ids))
@output_option
def show(ids: tuple[str, ...], form: str) -> None:
    """Show callbacks in full, with what is sent."""
    found = list(ask(_targets(ids), lambda at: GetCallback(id=at.id)))
    if form in ("json", "yaml"):
        rows = [with_place(answer, str(target.at)) for target, answer in found]
        structured([{**row, "Body": json.loads(row["Body"]) if row["Body"] else None} for row in rows], form)
    elif form == "name":
        click.echo("\n".join(str(target) for target, _ in found))
    else:
        click.echo("\n\n".join("\n".join(map(printable, answer.text().splitlines())) for _, answer in found))


@callback.command("retry")
@click.argument("ids", nargs=-1, required=True, metavar="[HOST/]REQUEST...", type=Name(_ids))
def retry(ids: tuple[str, ...]) -> None:
    """Try callbacks now, dead ones too, and again for a day where that fails."""
    for target, answer in ask(_targets(ids), lambda at: RetryCallback(id=at.id)):
        click.echo(f"{target}: is tried now at {_to(answer)}")


@callback.command("remove")
@click.argument("ids", nargs=-1, required=True, metavar="[HOST/]REQUEST...", type=Name(_ids))
def remove(ids: tuple[str, ...]) -> None:
    """Tell nobody, and forget; the operation itself goes on."""
    for _, answer in ask(_targets(ids), lambda at: RemoveCallback(id=at.id)):
        click.echo(answer.text())


@callback.command("key")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
def key(hosts: tuple[str, ...]) -> None:
    """Print the key that a host's callbacks are signed with, for who receives them."""
    for place, answer in ask_places(places(hosts), lambda at: GetCallbackKey()):
        click.echo(f"{place}: {answer.key}" if len(hosts) > 1 else answer.key)


def _to(row: Callback) -> str:
    """Scheme and host: the rest may be a secret."""
    return "/".join(row.url.split("/")[:3])
