"""`gear create-repo`, `archive`, `list-repos`, `rename-repo`, `gc-repo`, `delete-repo`."""

from __future__ import annotations

from typing import Literal

import click

from geard.cli.asking import ask, ask_places, locators, places
from geard.cli.completion import Name
from geard.cli.main import verb
from geard.cli.output import output_option, placed, print_list
from geard.failures import Invalid
from geard.identifiers import Locator, Place, parse_place
from geard.repositories.requests import (
    ArchiveRepository,
    CreateRepository,
    DeleteRepository,
    GetWebhook,
    ListRepositories,
    NotePushes,
    RemoveWebhook,
    RenameRepository,
    SetWebhook,
    TidyRepository,
)
from geard.transport import known_hosts

Form = Literal["zip", "tar", "tar.gz"]


def _names(host: str) -> list[str]:
    at = parse_place(host) if host else Place()
    return [
        each.id for _, answer in ask_places([at], lambda at: ListRepositories()) for each in answer.repositories
    ]


class RepositoryName(Name):
    """A repository."""

    def __init__(self) -> None:
        super().__init__(_names)


@verb("create-repo", group="Repositories")
@click.argument("name", metavar="NAME")
@click.argument("source", default="", metavar="[URL]")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is filled.")
def create_repo(name: str, source: str, no_wait: bool) -> None:
    """Make a git repository: empty, or with the branches and tags of URL.

    \b
    gear create-repo shop
    gear create-repo h1/shop https://github.com/acme/shop
    gear create-repo copy shop

    URL begins with https://, http:// or git://, or is the name of another repository there. To use it:
    gear keys --repo --write --key-file ~/.ssh/id_ed25519.pub NAME, git clone git-NAME@HOST:NAME.
    """
    targets = locators([name], "repo", "repository")
    follow = bool(source) and not no_wait
    for target, answer in ask(targets, lambda at: CreateRepository(id=at.id, source=source), follow=follow):
        clone = answer.clone(*_doors(target.at))
        click.echo(clone if follow else f"{answer.made()}; {clone}")


def _doors(at: Place) -> tuple[str, str]:
    """Which machine git is to ask: by SSH, and by HTTP. Nobody knows what others call this one."""
    if known_hosts.is_here(at.host):
        return "HOST", f"http://localhost:{at.port}"
    known = known_hosts.find(at.host)  # NAME may be a word of ours alone
    address, port = (known.address, known.port) if known is not None else (at.host, at.port)
    host = f"[{address}]" if ":" in address and not address.startswith("[") else address
    return host, f"https://{host}:{port}"


@verb("list-repos", group="Repositories")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
def list_repos(hosts: tuple[str, ...], form: str) -> None:
    """List git repositories: their size on disk, how many branches and tags, the last push."""
    found = [
        (str(place), each)
        for place, answer in ask_places(places(hosts), lambda at: ListRepositories())
        for each in answer.repositories
    ]
    rows = (
        (each.id, place, each.login, f"{each.bytes / 1e6:.1f} MB", str(each.refs), each.head, each.changed)
        for place, each in found
    )
    header = ("ID", "SERVER", "LOGIN", "SIZE", "REFS", "HEAD", "CHANGED")
    print_list(found, form, (placed(place, each.id) for place, each in found), header, rows)


@verb("pushed", group="This host", hidden=True)
def pushed() -> None:
    """Asked by geard-pushed.service, when a push has left word of what it changed."""
    for _ in ask_places([Place()], lambda at: NotePushes()):
        pass


@verb("archive", group="Repositories")
@click.argument("name", metavar="NAME", type=RepositoryName())
@click.argument("ref", default="HEAD", metavar="[REF]")
@click.option("-o", "--output", "file", default="-", metavar="FILE", help="Else standard output.")
@click.option(
    "--format", "form", type=click.Choice(["zip", "tar", "tar.gz"]), help="[default: as FILE ends, else zip]"
)
def archive(name: str, ref: str, file: str, form: Form | None) -> None:
    """Write the files of a git repository at a branch, a tag or a commit into an archive.

    \b
    gear archive shop master -o shop.zip
    gear archive h1/shop v1.0 --format tar | tar x
    """
    found: Form = form or _format_of(file)
    for _, pieces in ask(
        locators([name], "repo", "repository"), lambda at: ArchiveRepository(id=at.id, ref=ref, format=found)
    ):
        first = next(pieces)  # before the file: where there is no such thing, it stays as it is
        try:
            with click.open_file(file, "wb", atomic=file != "-") as target:
                target.write(first.data)
                for piece in pieces:
                    target.write(piece.data)
        except OSError as error:
            raise Invalid(f"cannot write {file}: {error.strerror}") from None


def _format_of(file: str) -> Form:
    if file.endswith((".tar.gz", ".tgz")):
        return "tar.gz"
    return "tar" if file.endswith(".tar") else "zip"


@verb("delete-repo", group="Repositories")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=RepositoryName())
def delete_repo(names: tuple[str, ...]) -> None:
    """Delete git repositories with all in them; what is not there is fine."""
    for _, answer in ask(locators(names, "repo", "repository"), lambda at: DeleteRepository(id=at.id)):
        click.echo(answer.text())


@verb("rename-repo", group="Repositories")
@click.argument("name", metavar="NAME", type=RepositoryName())
@click.argument("new", metavar="NEW-NAME")
def rename_repo(name: str, new: str) -> None:
    """Give a git repository another name; its keys go along."""
    if "/" in new:
        raise Invalid("a repository stays on its machine", hint="gear rename-repo HOST/NAME NEW-NAME")
    targets = locators([name], "repo", "repository")
    for target, answer in ask(targets, lambda at: RenameRepository(id=at.id, name=new)):
        click.echo(answer.told(_doors(target.at)[0]))


@verb("gc-repo", group="Repositories")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", type=RepositoryName())
def gc_repo(names: tuple[str, ...]) -> None:
    """Pack git repositories, and drop what nothing in them leads to any more."""
    for _, answer in ask(locators(names, "repo", "repository"), lambda at: TidyRepository(id=at.id)):
        click.echo(answer.text())


@verb("webhook-repo", group="Repositories")
@click.argument("name", metavar="NAME", type=RepositoryName())
@click.argument("url", default="", metavar="[URL]")
@click.option("--remove", is_flag=True, help="Tell nobody any more.")
def webhook_repo(name: str, url: str, remove: bool) -> None:
    """Have a URL told of every push to a git repository, or say which one is.

    \b
    gear webhook-repo shop https://ci.example.com/pushed
    gear callback key                  the key that what is sent is signed with

    It is sent JSON by POST: the repository, who pushed, and of each branch and tag the commits before and after.
    Who does not take it is tried again for a day: gear callback list.
    """
    if url and remove:
        raise Invalid("a URL and --remove at once", hint="one of them")

    def asked(at: Locator) -> GetWebhook | RemoveWebhook | SetWebhook:
        if remove:
            return RemoveWebhook(id=at.id)
        return SetWebhook(id=at.id, url=url) if url else GetWebhook(id=at.id)

    for _, answer in ask(locators([name], "repo", "repository"), asked):
        click.echo(answer.text())
