"""`gear keys`, `gear list-keys`, `gear remove-keys`."""

from __future__ import annotations

import click

from geard.cli.asking import ask, ask_places, locators
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.output import output_option, print_list
from geard.failures import Invalid
from geard.identifiers import Locator, Place, parse_place
from geard.keys.public import PublicKey, parse_keys
from geard.keys.requests import (
    AddKeys,
    KeyedContainer,
    KeyedRepository,
    KeyText,
    ListedKey,
    ListKeys,
    RemoveKeys,
    RemoveRepositoryKeys,
)

FILE_LIMIT = 1 << 20


@verb("keys", "add-keys", group="Share")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@click.option("--key-file", default="-", metavar="FILE", help="Public keys, a line for each; else standard input.")
@click.option("--repo", is_flag=True, help="The names are repositories.")
@click.option("--write", is_flag=True, help="Of repositories: to push too.")
def keys(names: tuple[str, ...], key_file: str, repo: bool, write: bool) -> None:
    """Let public keys open gears, and repositories, by SSH: ssh ctr-NAME@HOST, git clone git-NAME@HOST:NAME.

    \b
    gear keys --key-file ~/.ssh/id_ed25519.pub web
    cat team/*.pub | gear keys web db h1/web
    gear keys --repo --write --key-file ~/.ssh/id_ed25519.pub shop

    All keys of the file, or none of them where one is no key: which line, and why. 'gear status' shows the name
    to log in with.
    """
    targets = _targets(names, repo)
    if write and not all(target.type == "repo" for target in targets):
        raise Invalid(
            "--write is of repositories: a key that opens a gear may all there", hint="--repo --write NAME"
        )
    found = parse_keys(_read(key_file))
    by_place: dict[Place, list[Locator]] = {}
    for target in targets:
        by_place.setdefault(target.at, []).append(target)
    texts = tuple(KeyText(value=key.text) for key in found)

    def request(at: Place) -> AddKeys:
        gears = tuple(KeyedContainer(id=each.id) for each in by_place[at] if each.type != "repo")
        repositories = (KeyedRepository(id=each.id, write=write) for each in by_place[at] if each.type == "repo")
        return AddKeys(keys=texts, containers=gears, repositories=tuple(repositories))

    for place, answer in ask_places(list(by_place), request):
        click.echo(f"{place}: {answer.text()}" if len(by_place) > 1 and str(place) else answer.text())


def _targets(names: tuple[str, ...], repo: bool) -> list[Locator]:
    kind, what = ("repo", "repository") if repo else ("ctr", "gear")
    return locators(names, kind, what)


@verb("list-keys", group="Share")
@click.argument("names", nargs=-1, metavar="[NAME]...", type=GearName())
@click.option("--on", "hosts", multiple=True, metavar="HOST", help="All of that machine. May be repeated.")
@click.option("--repo", is_flag=True, help="The names are repositories.")
@output_option
def list_keys(names: tuple[str, ...], hosts: tuple[str, ...], repo: bool, form: str) -> None:
    """List which keys open which gears and repositories; without names, of all on this machine."""
    found: list[tuple[str, ListedKey]] = []

    def one(at: Locator) -> ListKeys:
        return ListKeys(repository=at.id) if at.type == "repo" else ListKeys(id=at.id)

    for target, answer in ask(_targets(names, repo), one):
        found += [(str(target.at), key) for key in answer.keys]
    if hosts or not names:
        where = [parse_place(host) for host in hosts] or [Place()]
        for place, answer in ask_places(where, lambda at: ListKeys()):
            found += [(str(place), key) for key in answer.keys]
    rows = ((key.id, place, key.repository or "login", key.type, key.fingerprint) for place, key in found)
    fingerprints = dict.fromkeys(key.fingerprint for _, key in found)
    print_list(found, form, fingerprints, ("ID", "SERVER", "MAY", "TYPE", "KEY"), rows)


@verb("remove-keys", group="Share")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=GearName())
@click.option(
    "--key", "given", multiple=True, metavar="FINGERPRINT", help="SHA256:…, or its beginning. May be repeated."
)
@click.option("--key-file", metavar="FILE", help="The public keys in FILE; '-' is standard input.")
@click.option("--all", "everything", is_flag=True, help="Every key.")
@click.option("--repo", is_flag=True, help="The names are repositories.")
def remove_keys(
    names: tuple[str, ...], given: tuple[str, ...], key_file: str | None, everything: bool, repo: bool
) -> None:
    """Have keys not open gears or repositories any more, from the next login on. Who is logged in stays: 'gear
    sessions'.
    """
    read: tuple[PublicKey, ...] = parse_keys(_read(key_file)) if key_file is not None else ()
    wanted = [*given, *(key.fingerprint for key in read)]
    if bool(wanted) == everything:
        raise click.UsageError("which keys? --key, --key-file, or --all")
    targets = _targets(names, repo)
    for key in wanted or [""]:
        _remove(targets, key)


def _remove(targets: list[Locator], key: str) -> None:
    def one(at: Locator) -> RemoveKeys | RemoveRepositoryKeys:
        kind = RemoveRepositoryKeys if at.type == "repo" else RemoveKeys
        return kind(id=at.id, key=key, all=not key)

    for _, answer in ask(targets, one):
        click.echo(answer.text())


def _read(file: str) -> str:
    try:
        with click.open_file(file, "rb") as source:
            text = bytes(source.read(FILE_LIMIT + 1))
    except OSError as error:
        raise Invalid(f"cannot read keys from {file}: {error.strerror}") from None
    if len(text) > FILE_LIMIT:
        raise Invalid(f"{file} is longer than any file of public keys")
    return text.decode(errors="replace")
