"""`gear secret`, and the option by which `gear install` gives secrets to gears."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from geard.cli.asking import ask, ask_places, locators, places, session
from geard.cli.completion import Name
from geard.cli.main import verbs
from geard.cli.output import output_option, placed, print_list
from geard.cli.parts import adds_to_install
from geard.failures import Invalid
from geard.identifiers import Locator, parse_locator, parse_place
from geard.secrets.requests import CreateSecret, ListSecrets, RemoveSecret, SecretsPart
from geard.secrets.uses import VALUE_LIMIT, check_uses, check_value, parse_use
from geard.words import Part


def _names(host: str) -> list[str]:
    answer = session.transport(parse_place(host)).send(ListSecrets())
    return [secret.id for secret in answer.secrets]


def _part(given: Mapping[str, Any], variables: Mapping[str, str]) -> Part | None:
    """`--secret ''` alone says: none, which is something to say in an update."""
    words: tuple[str, ...] = given["secrets"]
    uses = tuple(map(parse_use, () if words == ("",) else words))
    check_uses(uses)
    return SecretsPart(value=uses) if words else None


adds_to_install(
    _part,
    [
        click.Option(
            ["--secret", "secrets"],
            multiple=True,
            metavar="NAME[:/PATH|:env=VARIABLE]",
            type=Name(_names),
            help="Give it a secret: as the file /run/secrets/NAME or /PATH (then also ,mode=0400,uid=N,gid=N), or"
            " as a variable. In an update, these and no others.",
        ),
    ],
)

secret = verbs("secret", group="Share", doc="Keep passwords, keys and the like, for gears to be given.")


@secret.command("create")
@click.argument("name", metavar="NAME")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--from", "file", default="-", metavar="FILE", help="Read the value from FILE, not standard input.")
@click.option("--replace", is_flag=True, help="Give one that is there another value.")
def create(name: str, hosts: tuple[str, ...], file: str, replace: bool) -> None:
    """Keep a value under a name, on this machine or others.

    The value is what standard input has, every byte of it; a terminal asks for one line, twice, and shows nothing.
    Gears that are given the secret take a new value in when they start next.

    \b
    gear secret create db-password
    openssl rand -hex 16 | tr -d '\\n' | gear secret create api-key h1 h2
    gear secret create tls-key --from server.key --replace
    """
    at = parse_locator(name, what="secret")
    if hosts and not at.at.local:
        raise Invalid(f"{name!r} names a host, and others are named too", hint="gear secret create NAME HOST...")
    targets = [Locator(at.id, place) for place in places(hosts)] if hosts else [at]
    value = _value(file)
    check_value(value)
    for target, answer in ask(targets, lambda at: CreateSecret(id=at.id, value=value, replace=replace)):
        click.echo(f"{target.at}: {answer.text()}" if len(targets) > 1 else answer.text())


def _value(file: str) -> bytes:
    if file == "-" and sys.stdin.isatty():
        typed = click.prompt("Value", hide_input=True, confirmation_prompt="The same again", err=True)
        return str(typed).encode(errors="surrogateescape")
    try:
        with click.open_file(file, "rb") as source:
            return bytes(source.read(VALUE_LIMIT + 1))  # what is more is refused, and not read
    except OSError as error:
        raise Invalid(f"cannot read the value of a secret from {file}: {error.strerror}") from None


@secret.command("list")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
def list_(hosts: tuple[str, ...], form: str) -> None:
    """List secrets and the gears that are given them. Nothing shows a value."""
    found = [
        (str(place), row)
        for place, answer in ask_places(places(hosts), lambda at: ListSecrets())
        for row in answer.secrets
    ]
    rows = ((row.id, place, row.created, row.changed, " ".join(row.used_by)) for place, row in found)
    header = ("NAME", "SERVER", "CREATED", "CHANGED", "USED BY")
    print_list(found, form, (placed(place, row.id) for place, row in found), header, rows)


@secret.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=Name(_names))
@click.option("--force", is_flag=True, help="Also where gears are given it, which cannot start any more then.")
def remove(names: tuple[str, ...], force: bool) -> None:
    """Forget secrets; what is not there is fine."""
    for _, answer in ask(locators(names, what="secret"), lambda at: RemoveSecret(id=at.id, force=force)):
        click.echo(answer.text())
