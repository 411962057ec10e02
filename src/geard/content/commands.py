"""`gear content-token`: a link that lets whoever holds it ask one thing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from geard.cli.asking import ask, ask_places, places
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import structured, with_place
from geard.containers.requests import GetContainerStatus, RestartContainer, StartContainer, StopContainer
from geard.content.requests import LONGEST_SECONDS, CreateContentToken, RevokeContentTokens
from geard.environments.requests import GetEnvironment
from geard.failures import Invalid
from geard.identifiers import DEFAULT_PORT, Locator, Place, parse_locator, parse_place
from geard.logs.requests import FollowLog
from geard.request import Request
from geard.transport.wire import write

TYPES: dict[str, Callable[[str], Request[Any]]] = {
    "env": lambda id: GetEnvironment(id=id),
    "log": lambda id: FollowLog(id=id),
    "status": lambda id: GetContainerStatus(id=id),
    "start": lambda id: StartContainer(id=id),
    "stop": lambda id: StopContainer(id=id),
    "restart": lambda id: RestartContainer(id=id),
}
METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ANYTHING = "link"  # what a locator is called that names a machine alone


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    if ctx.params.get("words"):
        return GearName().shell_complete(ctx, param, incomplete)
    return [CompletionItem(word) for word in (*TYPES, *METHODS) if word.startswith(incomplete)]


@verb("content-token", "create-token", group="Share")
@click.argument(
    "words", nargs=-1, required=True, metavar="TYPE NAME | METHOD PATH [HOST]", shell_complete=_complete
)
@click.option(
    "--expires", default="1h", show_default=True, metavar="TIME", help="30s, 10m, 2h; a day (1d) at most."
)
@click.option("--expires-at", type=int, default=0, hidden=True, help="The original's: seconds since 1970.")
@click.option("-d", "--data", default="", metavar="JSON", help="The body of the request, with METHOD PATH.")
@click.option("--key-path", default="", hidden=True, help="The original's: the key is the agent's now.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json", "yaml", "name"]),
    default="text",
    help="How to print it.",
)
def content_token(
    words: tuple[str, ...], expires: str, expires_at: int, data: str, key_path: str, form: str
) -> None:
    """Seal one request into a link: whoever holds it may ask that, as you, until it expires.

    TYPE is env, log, status, start, stop or restart. What changes something works once, with POST.

    \b
    curl "$(gear content-token env web)"
    curl -X POST "$(gear content-token restart web --expires 10m)"
    gear content-token GET '/container/web/log?follow=true' --expires 1d
    """
    seconds = expires_at - int(time.time()) if expires_at else _seconds(expires)
    target, request = _wanted(words, data, seconds)
    for _, token in ask([target], lambda at: request):
        if form in ("json", "yaml"):
            structured({**with_place(token, str(target.at)), "Url": _base(target.at) + token.path}, form)
        else:
            click.echo(token.path if form == "name" else _base(target.at) + token.path)


@verb("revoke-content-tokens", group="Share")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
def revoke_content_tokens(hosts: tuple[str, ...]) -> None:
    """Have no link work any more that was made on a machine, whoever made it."""
    for place, _ in ask_places(places(hosts), lambda at: RevokeContentTokens()):
        click.echo(f"{place}: no link works any more" if len(hosts) > 1 else "no link works any more")


def _wanted(words: tuple[str, ...], data: str, seconds: int) -> tuple[Locator, CreateContentToken]:
    """Where the link is made, and of what. Raises Invalid."""
    first, *more = words
    if not more and first.count("?") >= 2:
        method, path, rest = first.split("?", 2)  # the original's METHOD?PATH?QUERY#BODY
        query, _, body = rest.partition("#")
        return _at(""), CreateContentToken(method=method, path=path, query=query, body=body, seconds=seconds)
    if first.upper() in METHODS and 1 <= len(more) <= 2:
        path, _, query = more[0].partition("?")
        where = _at(more[1] if len(more) == 2 else "")
        request = CreateContentToken(method=first.upper(), path=path, query=query, body=data, seconds=seconds)
        return where, request
    if first not in TYPES or len(more) != 1 or data:
        raise Invalid(
            f"{' '.join(words)} is nothing that a link can ask",
            hint=f"{', '.join(TYPES)} and a NAME; or a METHOD and a PATH of 'gear routes'",
        )
    target = parse_locator(more[0])
    call = write(TYPES[first](target.id))
    path, _, query = call.target.partition("?")
    body = call.body.decode() if call.body else ""
    return target, CreateContentToken(method=call.method, path=path, query=query, body=body, seconds=seconds)


def _at(host: str) -> Locator:
    return Locator(_ANYTHING, parse_place(host))


def _seconds(text: str) -> int:
    """Raises Invalid."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text, re.ASCII)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise Invalid(f"a link cannot work for {text!r}", hint="30s, 10m, 2h; a day (1d) at most")
    return seconds


def _base(at: Place) -> str:
    """The door that a link is for. On loopback it is HTTP; of another machine only TLS can be reached."""
    if at.local:
        return f"http://localhost:{DEFAULT_PORT}"
    own = at.host in ("localhost", "127.0.0.1", "[::1]")
    return f"{'http' if own else 'https'}://{at.host}:{at.port}"
