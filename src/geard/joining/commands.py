"""`gear requests`, `gear wait`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime

import click

from geard.cli.asking import ask_places, places, session
from geard.cli.completion import Name
from geard.cli.main import verb
from geard.cli.output import output_option, printable, structured, table, with_place
from geard.identifiers import Place, parse_place, parse_request_id
from geard.joining.requests import GetRequest, JoinRequest, KnownRequest, ListRequests, ShownRequest


def _ids(host: str) -> Iterable[str]:
    found = ask_places([parse_place(host)], lambda at: ListRequests())
    return [each.id for _, answer in found for each in answer.requests]


@verb("requests", group="Look")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that ended more than an hour ago.")
@output_option
def requests(hosts: tuple[str, ...], everything: bool, form: str) -> None:
    """Show what was asked of a machine: what is queued, what runs, what came of the rest."""
    where = places(hosts)
    found = [
        (str(place), each)
        for place, answer in ask_places(where, lambda at: ListRequests(all=everything))
        for each in answer.requests
    ]
    if form in ("json", "yaml"):
        structured([with_place(each, place) for place, each in found], form)
    elif form == "name":
        for _, each in found:
            click.echo(each.id)
    else:
        click.echo(_table(found, wide=form == "wide", many=len(where) > 1))


def _table(found: list[tuple[str, KnownRequest]], *, wide: bool, many: bool) -> str:
    header = [*(["SERVER"] if many else []), "ID", "STATE", "SINCE", "WHO", "WHAT", *(["FAILURE"] if wide else [])]
    rows = [
        [
            *([place] if many else []),
            each.id, each.state, _local(each.since), each.by, each.what,
            *([each.failure] if wide else []),
        ]
        for place, each in found
    ]  # fmt: skip
    return table(header, rows)


def _local(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@verb("wait", group="Look")
@click.argument("request_id", metavar="ID", type=Name(_ids))
@click.argument("host", default="", metavar="[HOST]")
@click.option("-s", "--status", is_flag=True, help="Say how it is now, and do not wait.")
def wait(request_id: str, host: str, status: bool) -> None:
    """Join a request by its id: its report from the first line to the end, its failure as the exit code."""
    id, at = parse_request_id(request_id), parse_place(host)
    if status:
        for _, answer in ask_places([at], lambda place: GetRequest(id=id)):
            _show_status(answer)
        return
    _show_report(at, id)


def _show_status(answer: ShownRequest) -> None:
    for line in answer.text().splitlines():
        click.echo(printable(line))


def _show_report(at: Place, id: str) -> None:
    steps = session.transport(at).send(JoinRequest(id=id))
    try:
        for step in steps:
            if not step.result and not sys.stderr.isatty():
                continue
            for line in step.text().splitlines():
                click.echo(printable(line), err=not step.result)
    finally:
        steps.close()
