"""`gear images`, `pull`, `prune`, `save`, `load`, `tag`, `remove-image` and `login`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial

import click

from geard.cli.asking import ask_places, places, session
from geard.cli.main import verb
from geard.cli.output import outcome_option, output_option, print_list
from geard.cli.parts import engine_option
from geard.identifiers import Place, parse_place
from geard.images.names import check_image
from geard.images.requests import (
    DescribeTransfer,
    ListedImage,
    ListImages,
    LoadImage,
    LogIn,
    PruneImages,
    PullImage,
    RemoveImage,
    SaveImage,
    TagImage,
)
from geard.images.sizes import show_age, show_bytes
from geard.images.transferring import receive, send
from geard.images.watching import pull_all

_AT = click.option("--host", "hosts", multiple=True, metavar="HOST", help="On that machine; may be said again.")
_ONE = click.option("--host", "host", default="", metavar="HOST", help="On that machine, not this one.")


@verb("images", group="Images")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@engine_option
@output_option
def images(hosts: tuple[str, ...], engine: str, form: str) -> None:
    """List the images that are here, and which gears and kept versions need them."""
    found = [
        (str(place), each)
        for place, answer in ask_places(places(hosts), lambda at: ListImages(engine=engine))
        for each in answer.images
    ]
    now, wide = datetime.now(UTC), form == "wide"
    rows = (
        (
            name,
            each.id if wide else each.id[:12],
            *((each.digest,) if wide else ()),
            place,
            show_bytes(each.size),
            show_age(each.created, now),
            _used_by(each),
        )
        for place, each in found
        for name in each.names or ("<none>",)
    )
    names = (name for _, each in found for name in each.names or (each.id,))
    digest = ("DIGEST",) if wide else ()
    print_list(found, form, names, ("IMAGE", "ID", *digest, "SERVER", "SIZE", "AGE", "USED BY"), rows)


def _used_by(image: ListedImage) -> str:
    kept: dict[str, int] = {}
    for each in image.kept_for:
        gear = each.partition("@")[0]
        kept[gear] = kept.get(gear, 0) + 1
    old = [f"{gear} ({count} earlier)" for gear, count in kept.items()]
    others = [name for name in image.containers if not name.startswith("ctr-")]
    return ", ".join([*image.used_by, *old, *others])


@verb("pull", group="Images")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@_AT
@engine_option
@click.option("--no-wait", is_flag=True, help="Return as soon as the requests are on record.")
@click.option("--registry-only", is_flag=True, help="Do not ask [images] peers, which may have an older one.")
@click.option("-q", "--quiet", is_flag=True, help="Say what came of it, and nothing before that.")
@outcome_option
def pull(
    images: tuple[str, ...],
    hosts: tuple[str, ...],
    engine: str,
    no_wait: bool,
    registry_only: bool,
    quiet: bool,
    form: str,
) -> None:
    """Bring the newest images of these names to machines; gears use them when installed anew."""
    for image in images:
        check_image(image)
    wishes = [
        PullImage(image=image, engine=engine, registry_only=registry_only) for image in dict.fromkeys(images)
    ]
    pull_all(places(hosts), wishes, wait=not no_wait, quiet=quiet, form=form)


@verb("prune", group="Images")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--days", type=click.IntRange(0, 36_500), default=None, metavar="N",
    help="Unused for so long; 0: remove at once. [default: keep-days of geard.toml, 14]")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@engine_option
def prune(hosts: tuple[str, ...], days: int | None, dry_run: bool, engine: str) -> None:
    """Remove images that nothing has needed for some days.

    What the definition of a gear, one of its versions that are kept, or any container needs never goes, whether it
    runs or not. An image counts as unused from the first look that sees it so: the agent's, every hour, or this.
    """
    wish = PruneImages(days=days, dry_run=dry_run, engine=engine)
    for place, answer in ask_places(places(hosts), lambda at: wish):
        for line in answer.text().splitlines():
            click.echo(f"{place}: {line}" if len(hosts) > 1 else line)


@verb("tag", group="Images")
@click.argument("image")
@click.argument("name")
@_AT
@engine_option
def tag(image: str, name: str, hosts: tuple[str, ...], engine: str) -> None:
    """Give an image that is here a further name."""
    for _, answer in ask_places(places(hosts), lambda at: TagImage(image=image, name=name, engine=engine)):
        click.echo(answer.text())


@verb("remove-image", group="Images")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@_AT
@click.option("--force", is_flag=True, help="Also what gears need: it is pulled again when they start.")
@engine_option
def remove_image(images: tuple[str, ...], hosts: tuple[str, ...], force: bool, engine: str) -> None:
    """Remove names of images, and with its last name an image; what is not there is fine."""
    for image in images:
        check_image(image)
    for image in images:
        for _, answer in ask_places(places(hosts), partial(_removal, image, engine, force)):
            click.echo(answer.text())


def _removal(image: str, engine: str, force: bool, at: Place) -> RemoveImage:
    return RemoveImage(image=image, engine=engine, force=force)


@verb("save", group="Images")
@click.argument("image")
@click.option("-o", "--output", "file", default="-", metavar="FILE", help="Else standard output.")
@_ONE
@engine_option
def save(image: str, file: str, host: str, engine: str) -> int:
    """Write an image to a file: an archive that `gear load`, podman and docker take."""
    check_image(image)
    place = parse_place(host)
    transport = session.transport(place)
    if session.in_process(place):
        return receive(file, argv=transport.send(DescribeTransfer(image=image, engine=engine)).argv)
    return receive(file, line=lambda: transport.send(SaveImage(image=image, engine=engine)))


@verb("load", group="Images")
@click.option("-i", "--input", "file", default="-", metavar="FILE", help="Else standard input.")
@_ONE
@engine_option
def load(file: str, host: str, engine: str) -> int:
    """Take in the images of an archive, as `gear save`, `podman save` and `docker save` write them."""
    place = parse_place(host)
    transport = session.transport(place)
    if session.in_process(place):
        return send(file, argv=transport.send(DescribeTransfer(engine=engine)).argv)
    return send(file, line=lambda: transport.send(LoadImage(engine=engine)))


@verb("login", group="Images")
@click.argument("registry")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("-u", "--user", prompt=True, help="The user's name at the registry.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@engine_option
def login(registry: str, hosts: tuple[str, ...], user: str, password_stdin: bool, engine: str) -> None:
    """Prove credentials to a registry, and keep them on machines for their pulls."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = str(click.prompt("Password", hide_input=True, err=True))
    wish = LogIn(registry=registry, user=user, password=password, engine=engine)
    for place, _ in ask_places(places(hosts), lambda at: wish):
        click.echo(f"{str(place) or 'this machine'}: logged in to {registry}")
