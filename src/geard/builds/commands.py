"""`gear build` and `gear builds`."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from geard.builds.requests import (
    Build,
    BuildImage,
    BuildOnPush,
    BuildPushed,
    CancelBuild,
    CarryOutBuild,
    ConcludeBuild,
    FollowBuild,
    ForgetOnPush,
    GetBuild,
    ListBuilds,
    ListOnPush,
    RemoveBuild,
    ShowUsage,
    StartedBuild,
)
from geard.builds.sources import parse_source
from geard.cli.asking import ask_places, places, session
from geard.cli.completion import GearName, Name
from geard.cli.main import verb, verbs
from geard.cli.output import output_option, print_list, structured, with_place
from geard.cli.resuming import resumed
from geard.environments.file import parse_argument
from geard.environments.given import read_file
from geard.environments.requests import Variable
from geard.failures import Failure, Invalid, NotFound, failure_of_kind
from geard.identifiers import Place
from geard.logs.lines import calm
from geard.request import Request, Stream

F = TypeVar("F", bound=Callable[..., Any])


@verb("build", group="Images")
@click.argument("arguments", nargs=-1, required=True, metavar="SOURCE [BASE-IMAGE] TAG [VARIABLE=VALUE]...")
@click.option("-r", "--ref", default="", metavar="REF", help="The branch, tag or commit of a git repository.")
@click.option("-s", "--scripts", default="", metavar="URL", help="Where the scripts are, before all other places.")
@click.option(
    "--strategy",
    type=click.Choice(["source", "containerfile"]),
    help="By scripts or by a Containerfile; else as the source has one or not.",
)
@click.option("--runtime-image", default="", metavar="IMAGE", help="What is built runs on this one.")
@click.option(
    "--runtime-artifact",
    "artifacts",
    multiple=True,
    metavar="PATH[:FOLDER]",
    help="What goes over to it; else as the base image says. May be repeated.",
)
@click.option("--clean", is_flag=True, help="Take nothing over from the image of that tag.")
@click.option("--rm", "remove_previous", is_flag=True, help="Remove the image that had the tag before.")
@click.option("-e", "--env", "variables", multiple=True, metavar="VARIABLE=VALUE", help="As behind the tag.")
@click.option("--env-file", default="", metavar="FILE", help="Variables, a line each; - is standard input.")
@click.option("--env-url", default="", hidden=True, help="The original took it and did nothing with it.")
@click.option("--network/--no-network", default=None, help="Whether it reaches the network.")
@click.option("--memory", default="", metavar="SIZE", help="At most so much: 512m, 2g.")
@click.option("--cpus", type=float, help="At most so many.")
@click.option("--pids", type=int, help="At most so many processes.")
@click.option("--time-limit", type=int, metavar="SECONDS", help="It is ended after so long; 0: never.")
@click.option(
    "--cache", multiple=True, metavar="PATH", help="A folder inside, kept for the next build of this source."
)
@click.option("--name", default="", metavar="ID", help="The build's; one is made up where there is none.")
@click.option(
    "--start",
    default="",
    metavar="GEAR",
    type=GearName(),
    help="Then update that gear to it, or install and start it.",
)
@click.option("--at", "--host", "at", default="", metavar="HOST", help="The machine that builds.")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted; gear builds log ID follows it.")
@click.option("--callback-url", "--callbackUrl", default="", metavar="URL", help="Is told when it has ended.")
@click.option("--verbose", is_flag=True, hidden=True, help="All is printed anyway.")
@click.option("-S", "--docker-socket", default="", hidden=True, help="The original's.")
def build(arguments: tuple[str, ...], **given: Any) -> None:
    """Build an image from source, by the scripts of a base image (source-to-image) or by a Containerfile.

    SOURCE is a folder, an archive, a git URL (URL#REF:FOLDER), repo://NAME, or - for an archive on standard input.

    \b
    gear build https://github.com/acme/site#main:web acme/python site --start site
    gear build . site:2                       the folder has a Containerfile
    gear build ./web acme/python site --host h1     is sent there, and built there
    """
    words = [word for word in arguments if "=" not in word or "/" in word.partition("=")[0]]
    named = dict(parse_argument(word) for word in (*given["variables"], *(w for w in arguments if w not in words)))
    if len(words) not in (2, 3):
        raise Invalid("gear build takes SOURCE, BASE-IMAGE and TAG", hint="gear help build")
    if given["env_file"] == "-" and words[0] == "-":
        raise Invalid("standard input is the archive or the variables, not both")
    variables = {**(read_file(given["env_file"]) if given["env_file"] else {}), **named}
    where = places([given["at"]] if given["at"] else [])[0]
    session.callback = session.callback or given["callback_url"]
    wish = BuildImage(
        source=_source(words[0], given["ref"], where),
        base_image=words[1] if len(words) == 3 else "",
        tag=words[-1],
        name=given["name"],
        ref=given["ref"],
        runtime_image=given["runtime_image"],
        artifacts=";".join(given["artifacts"]),
        scripts=given["scripts"],
        strategy=given["strategy"] or "",
        environment=tuple(Variable(name=name, value=value) for name, value in variables.items()),
        clean=given["clean"],
        remove_previous=given["remove_previous"],
        network=given["network"],
        memory=given["memory"],
        cpus=given["cpus"],
        pids=given["pids"],
        time_limit=given["time_limit"],
        cache=given["cache"],
        start=given["start"],
    )
    _started(where, wish, wait=not given["no_wait"])


def _source(text: str, ref: str, where: Place) -> str:
    """What the machine that builds is told; what it cannot see is sent to it first."""
    path, mark, behind = text.partition("#")
    here = "://" not in text and "::" not in text and Path(path).exists()
    if text != "-" and where.local and here:
        text = f"{Path(path).absolute().resolve()}{mark}{behind}"
    elif text == "-" or here:
        return _sent(text, ref, where)
    elif not where.local and path.startswith((".", "/")):
        raise NotFound(f"there is no {path} here", hint=f"file:///PATH is one of {where}")
    parse_source(text, ref)
    return text


def _sent(text: str, ref: str, where: Place) -> str:
    from geard.builds import packing  # noqa: PLC0415 - tarfile and what it needs, 20 ms for other verbs

    id = secrets.token_hex(16)
    path, folder = (None, "") if text == "-" else packing.check_sendable(text, ref)
    source = f"sent://{id}" + (f"#:{folder}" if folder else "")
    parse_source(source, ref)
    packing.send_source(where, id, path)
    return source


def _started(where: Place, wish: BuildImage | ShowUsage, *, wait: bool) -> None:
    """Have it begun, and show what it prints until it has ended."""
    found: StartedBuild | None = None
    for _, found in ask_places([where], lambda _: wish):
        click.echo(found.text(), err=wait)
    if found is None or not wait:
        return
    _follow(where, found.id)
    ended = session.transport(where).send(GetBuild(id=found.id))
    if ended.state != "done":
        raise _failure(ended)
    if ended.image:
        click.echo(f"{ended.tag} is built: {ended.image[:12]} in {ended.seconds:.1f} s")


def _failure(ended: Build) -> Failure:
    at = f" at {ended.step}" if ended.step else ""
    why = f": {ended.reason}" if ended.reason else ""
    said = "cancelled" if ended.state == "cancelled" else "failed"
    return failure_of_kind(
        "", f"build {ended.id} {said}{at}{why}", hint=f"gear builds show {ended.id}; gear builds log {ended.id}"
    )


def _follow(where: Place, id: str) -> None:
    transport = session.transport(where)

    def opened(after: str, since: str) -> Stream[Any]:
        return transport.send(FollowBuild(id=id, after=after))

    terminal = sys.stdout.isatty()
    for line in resumed(opened, str(where)):
        if line.skipped:
            click.echo(f"[{line.skipped} bytes are not kept]", err=True)
        click.echo(calm(line.message) if terminal else line.message)


def _of_unit(ctx: click.Context, param: click.Parameter, value: str) -> None:
    """`--carry-out ID`, `--conclude ID`: what the unit of a build runs."""
    if not value:
        return
    make: Callable[..., Request[Any]] = CarryOutBuild if param.name == "carry_out" else ConcludeBuild
    session.transport(Place()).send(make(id=value))
    ctx.exit()


def _pushed(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """`--pushed`: what geard-pushed.service runs."""
    if value:
        session.transport(Place()).send(BuildPushed())
        ctx.exit()


builds = verbs("builds", group="Images", doc="Builds of images: what runs, what came of them.")
for _name in ("--carry-out", "--conclude"):
    builds.params.append(click.Option([_name], hidden=True, is_eager=True, expose_value=False, callback=_of_unit))
builds.params.append(
    click.Option(["--pushed"], is_flag=True, hidden=True, is_eager=True, expose_value=False, callback=_pushed)
)


def _at_option(command: F) -> F:
    return click.option("--at", "--host", "at", default="", metavar="HOST", help="The machine that builds.")(
        command
    )


def _place(at: str) -> Place:
    return places([at] if at else [])[0]


_ID = Name(lambda host: [each.id for each in session.transport(_place(host)).send(ListBuilds()).builds])


@builds.command("list")
@click.option("--tag", default="", metavar="TAG", help="Only those of that tag.")
@_at_option
@output_option
def list_(tag: str, at: str, form: str) -> None:
    """List builds, those that have ended too, the newest first."""
    for place, found in ask_places([_place(at)], lambda _: ListBuilds(tag=tag)):
        rows = (_row(each, wide=form == "wide") for each in found.builds)
        header = ["ID", "STATE", "STEP", "TAG", "SECONDS", "BEGAN", "COMMIT", "IMAGE"]
        wide = ["SOURCE", "BASE", "DIGEST"] if form == "wide" else []
        builds = [(str(place), each) for each in found.builds]
        print_list(builds, form, (each.id for each in found.builds), [*header, *wide], rows)


def _row(each: Build, *, wide: bool) -> list[str]:
    step = each.step if each.state not in ("done",) else ""
    seconds = f"{each.seconds:.1f}" if each.ended else ""
    row = [each.id, each.state, step, each.tag, seconds, each.began[:19], each.commit[:10], each.image[:12]]
    return [*row, each.source, each.base_image, each.digest] if wide else row


@builds.command("show")
@click.argument("id", type=_ID)
@_at_option
@output_option
def show(id: str, at: str, form: str) -> None:
    """Say where a build stands, or what came of it: steps, times, commit, digests, the last lines of a failure."""
    for place, found in ask_places([_place(at)], lambda _: GetBuild(id=id)):
        if form in ("json", "yaml"):
            structured(with_place(found, str(place)), form)
        else:
            click.echo(found.id if form == "name" else calm(found.text()))


@builds.command("log")
@click.argument("id", type=_ID)
@click.option("--no-follow", is_flag=True, help="What is there now, though it goes on.")
@_at_option
def log(id: str, no_follow: bool, at: str) -> None:
    """Print what a build prints, from the beginning until it has ended."""
    if not no_follow:
        _follow(_place(at), id)
        return
    for line in session.transport(_place(at)).send(FollowBuild(id=id, follow=False)):
        click.echo(line.message)


@builds.command("cancel")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", type=_ID)
@_at_option
def cancel(ids: tuple[str, ...], at: str) -> None:
    """End builds: all that they run."""
    for id in ids:
        wish = CancelBuild(id=id)
        for _, found in ask_places([_place(at)], lambda _, wish=wish: wish):  # type: ignore[misc]
            click.echo(found.text())


@builds.command("remove")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", type=_ID)
@_at_option
def remove(ids: tuple[str, ...], at: str) -> None:
    """Forget builds that have ended, and what they printed; their images stay."""
    for id in ids:
        wish = RemoveBuild(id=id)
        for _, found in ask_places([_place(at)], lambda _, wish=wish: wish):  # type: ignore[misc]
            click.echo(found.text())


@builds.command("usage")
@click.argument("image")
@click.option("-s", "--scripts", default="", metavar="URL", help="Where the scripts are, before all other places.")
@_at_option
def usage(image: str, scripts: str, at: str) -> None:
    """Have a base image say how it is used: its usage script, or assemble -h."""
    _started(_place(at), ShowUsage(base_image=image, scripts=scripts), wait=True)


@builds.command("on-push")
@click.argument("repository")
@click.argument("images", nargs=-1, required=True, metavar="[BASE-IMAGE] TAG [VARIABLE=VALUE]...")
@click.option("-r", "--ref", default="", metavar="BRANCH", help="Else the one that a clone checks out.")
@click.option("--start", default="", metavar="GEAR", help="Then update that gear to it, or install and start it.")
@click.option("--clean", is_flag=True, help="Take nothing over from the image of that tag.")
@click.option("--network/--no-network", default=None, help="Whether builds reach the network.")
@_at_option
def on_push(
    repository: str,
    images: tuple[str, ...],
    ref: str,
    start: str,
    clean: bool,
    network: bool | None,
    at: str,
) -> None:
    """Build what is pushed to a repository of the machine, what it has now too.

    \b
    gear create-repo shop
    gear builds on-push shop acme/python shop --start shop
    """
    words = [word for word in images if "=" not in word]
    if len(words) not in (1, 2):
        raise Invalid("gear builds on-push takes REPOSITORY, BASE-IMAGE and TAG")
    variables = dict(parse_argument(word) for word in images if "=" in word)
    wish = BuildOnPush(
        id=repository,
        base_image=words[0] if len(words) == 2 else "",
        tag=words[-1],
        ref=ref,
        start=start,
        clean=clean,
        network=network,
        environment=tuple(Variable(name=name, value=value) for name, value in variables.items()),
    )
    for _, found in ask_places([_place(at)], lambda _: wish):
        click.echo(found.text())


@builds.command("list-on-push")
@_at_option
@output_option
def list_on_push(at: str, form: str) -> None:
    """List the repositories whose pushes are built."""
    for place, found in ask_places([_place(at)], lambda _: ListOnPush()):
        rows = ((e.id, e.ref, e.base_image, e.tag, e.start, e.built[:10]) for e in found.repositories)
        header = ("REPOSITORY", "BRANCH", "BASE", "TAG", "GEAR", "BUILT")
        watched = [(str(place), each) for each in found.repositories]
        print_list(watched, form, (each.id for each in found.repositories), header, rows)


@builds.command("off-push")
@click.argument("repository")
@_at_option
def off_push(repository: str, at: str) -> None:
    """Build no more what is pushed to a repository; what was built stays."""
    wish = ForgetOnPush(id=repository)
    for _, found in ask_places([_place(at)], lambda _: wish):
        click.echo(found.text())
