"""`gear token` and `gear host`: letting others ask this machine's agent, and being let in by theirs."""

# ruff: noqa: PLC0415 - what speaks TLS is loaded by the verbs that do: `gear --help` need not pay for it
from __future__ import annotations

import re
import shlex
import sys

import click

from geard.access.requests import (
    CreateToken,
    GivenScope,
    GiveUpCertificate,
    Guest,
    InviteHost,
    JoinHost,
    ListHosts,
    ListTokens,
    RenewCertificate,
    RevokeHost,
    RevokeToken,
)
from geard.cli.asking import ask_places, places, session
from geard.cli.completion import Name
from geard.cli.main import verbs
from geard.cli.output import output_option, print_list, printable, structured, table
from geard.failures import Failure, Invalid, NotFound, Unauthenticated
from geard.identifiers import check_id, parse_place
from geard.transport.renewal import renews_by
from geard.trust.bearers import Bearer, digest, new_secret

renews_by(lambda csr: RenewCertificate(csr=csr))

token = verbs("token", group="This host", doc="Let whoever shows a token ask this machine's agent.")
host = verbs(
    "host", group="This host", doc="Let other machines ask this one's agent, and have this one ask theirs."
)

SCOPES = click.Choice(["read", "pull", "operate", "admin"])
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def _tokens(at: str) -> list[str]:
    return [guest.name for guest in session.transport(parse_place(at)).send(ListTokens()).guests]


def _guests(at: str) -> list[str]:
    return [guest.name for guest in session.transport(parse_place(at)).send(ListHosts()).guests]


def _known(at: str) -> list[str]:
    from geard.transport import known_hosts

    return known_hosts.names()


def parse_seconds(text: str) -> int:
    """`30d`, `12h`, `90` (seconds); `never` is 0. Raises Invalid."""
    if text == "never":
        return 0
    found = re.fullmatch(r"([0-9]{1,9})([smhdw]?)", text, re.ASCII)
    if not found or int(found[1]) == 0:
        raise Invalid(f"{text!r} is no time", hint="such as 30d, 12h or never")
    return int(found[1]) * _UNITS[found[2] or "s"]


@token.command("create")
@click.argument("name", metavar="NAME")
@click.argument("at", default="", metavar="[HOST]")
@click.option("--scope", type=SCOPES, default="read", help="What it may do; read, if nothing is said.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Only about ids like this: web-*. May be repeated.")
@click.option(
    "--expires", default="30d", metavar="TIME", help="How long it holds: 30d (if nothing is said), 12h, never."
)
@click.option("--replace", is_flag=True, help="In place of another token of that name.")
def create_token(
    name: str, at: str, scope: GivenScope, only: tuple[str, ...], expires: str, replace: bool
) -> None:
    """Make a token, and print it: this once, for nobody keeps it.

    \b
    gear token create ci --scope operate --only 'web-*'
    curl -H "Authorization: Bearer $(cat token)" http://localhost:43273/containers
    GEAR_TOKEN=$(cat token) gear list                  as a user who may not else
    """
    made = Bearer(check_id(name, "token"), new_secret())
    asked = CreateToken(
        id=name,
        digest=digest(made.secret),
        scope=scope,
        only=_patterns(only),
        seconds=parse_seconds(expires),
        replace=replace,
    )
    for _, answer in ask_places(places([at] if at else []), lambda at: asked):
        click.echo(answer.text(), err=True)
        click.echo(made.text)


@token.command("list")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
def list_tokens(hosts: tuple[str, ...], form: str) -> None:
    """List the tokens of machines; nobody can show them again."""
    found = [
        (str(place), row)
        for place, answer in ask_places(places(hosts), lambda at: ListTokens())
        for row in answer.guests
    ]
    _show(found, form)


@token.command("revoke")
@click.argument("name", metavar="NAME", type=Name(_tokens))
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
def revoke_token(name: str, hosts: tuple[str, ...]) -> None:
    """Let a token in no more, from now on, and end what it has open; one that is not there is fine."""
    for place, answer in ask_places(places(hosts), lambda at: RevokeToken(id=name)):
        click.echo(f"{place}: {answer.text()}" if len(hosts) > 1 else answer.text())


@host.command("invite")
@click.argument("name", metavar="NAME")
@click.argument("at", default="", metavar="[HOST]")
@click.option("--scope", type=SCOPES, default="operate", help="What it may do; operate, if nothing is said.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Only about ids like this: web-*. May be repeated.")
def invite(name: str, at: str, scope: GivenScope, only: tuple[str, ...]) -> None:
    """Print the command by which another machine, to be known here as NAME, may ask this one's agent.

    It works once, within an hour. Who gives it first is let in: hand it over as you would a password.
    """
    secret = new_secret()
    asked = InviteHost(id=check_id(name, "host"), digest=digest(secret), scope=scope, only=_patterns(only))
    for _, answer in ask_places(places([at] if at else []), lambda at: asked):
        join = Bearer(name, secret, answer.fingerprint)
        click.echo(f"On {name}, as the user who is to have it, within an hour:", err=True)
        here = answer.name.partition(".")[0] or "host"
        first, *others = [printable(each) for each in answer.addresses]
        click.echo(f"echo {join.text} | gear host add {shlex.quote(printable(here))} {shlex.quote(first)}")
        if others:
            click.echo(f"(also reached at {', '.join(others)})", err=True)
        if not answer.answers:
            click.echo(f"nobody answers at {first} yet: systemctl enable --now geard", err=True)


@host.command("add")
@click.argument("name", metavar="NAME")
@click.argument("address", metavar="ADDRESS[:PORT]")
def add(name: str, address: str) -> None:
    """Make another machine known as NAME, by an invitation, which is read from standard input.

    A key is made here and a certificate asked for; then NAME stands for that machine: gear status NAME/web. Root's
    are kept in /etc/geard/hosts, others' in ~/.config/geard/hosts.

    \b
    echo geard-join.… | gear host add h1 192.0.2.7
    """
    from geard.transport import joining, known_hosts

    known_hosts.check_name(name)
    at = parse_place(address)
    if at.local:
        raise Invalid(f"{address!r} is no address of another machine")
    if sys.stdin.isatty():
        text = str(click.prompt("Invitation", hide_input=True, err=True))
    else:
        text = sys.stdin.readline(1_000)
    invitation = joining.parse_invitation(text)
    known = joining.join(
        name, at.host.strip("[]"), at.port, invitation, lambda csr: JoinHost(id=invitation.name, csr=csr)
    )
    click.echo(f"{name} is known here, and knows this machine as {known.as_name}, until {known.expires}")
    click.echo(f"  gear list {name}", err=True)


@host.command("list")
@output_option
def list_known(form: str) -> None:
    """List the machines whose agents may be asked from here."""
    from geard.transport import known_hosts

    rows: list[dict[str, object]] = []
    for name in known_hosts.names():
        try:
            known = known_hosts.find(name)
        except Failure as failure:
            click.echo(f"{failure.message}", err=True)
            continue
        if known is not None:
            address = f"[{known.address}]" if ":" in known.address else known.address
            rows.append(
                {
                    "Name": name,
                    "Address": f"{address}:{known.port}",
                    "KnownAs": known.as_name,
                    "Expires": known.expires,
                    "Expired": known_hosts.expired(known),
                }
            )
    if form == "name":
        click.echo("".join(f"{row['Name']}\n" for row in rows), nl=False)
    elif form in ("json", "yaml"):
        structured(rows, form)
    else:
        cells = [
            (
                str(r["Name"]),
                str(r["Address"]),
                str(r["KnownAs"]),
                str(r["Expires"]) + (" (over)" * bool(r["Expired"])),
            )
            for r in rows
        ]
        click.echo(table(("NAME", "ADDRESS", "KNOWN AS", "EXPIRES"), cells))


@host.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=Name(_known))
def remove(names: tuple[str, ...]) -> None:
    """Forget machines, and have them let this one in no more; what is not known is fine."""
    from geard.transport import known_hosts

    for name in names:
        known_hosts.check_name(name)
        given_up = ""
        try:
            if known_hosts.find(name) is not None:
                session.changes = True
                session.transport(parse_place(name)).send(GiveUpCertificate())
        except Unauthenticated:  # it was revoked before, or by this
            pass
        except Failure as failure:
            given_up = f"; it could not be told: {failure.message}"
        found = known_hosts.forget(name)
        click.echo(f"Forgot {name}{given_up}" if found else f"{name} was not known")


@host.command("renew")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=Name(_known))
def renew(names: tuple[str, ...]) -> None:
    """Have new certificates for machines that are known; it happens by itself a month before the end."""
    from geard.transport import joining, known_hosts

    for name in names:
        known = known_hosts.find(name)
        if known is None:
            raise NotFound(f"{name} is not known here", hint="gear host list shows which are")
        click.echo(f"{name}: until {joining.renew(name, known).expires}")


@host.command("guests")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
def guests(hosts: tuple[str, ...], form: str) -> None:
    """List the machines that may ask an agent, and those that are invited."""
    found = [
        (str(place), row)
        for place, answer in ask_places(places(hosts), lambda at: ListHosts())
        for row in answer.guests
    ]
    _show(found, form)


@host.command("revoke")
@click.argument("name", metavar="NAME", type=Name(_guests))
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
def revoke(name: str, hosts: tuple[str, ...]) -> None:
    """Let a machine ask no more, from now on, and end what it has open; one that is not there is fine."""
    for place, answer in ask_places(places(hosts), lambda at: RevokeHost(id=name)):
        click.echo(f"{place}: {answer.text()}" if len(hosts) > 1 else answer.text())


def _show(found: list[tuple[str, Guest]], form: str) -> None:
    rows = (
        (
            row.name,
            place,
            "invited" if row.kind == "invitation" else row.scope,
            " ".join(row.only) or "all",
            row.created,
            row.expires or "never",
            row.by,
        )
        for place, row in found
    )
    header = ("NAME", "SERVER", "SCOPE", "ONLY", "CREATED", "EXPIRES", "BY")
    print_list(found, form, (row.name for _, row in found), header, rows)


def _patterns(only: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for each in only for word in each.split(",") if word)
