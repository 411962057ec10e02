"""Builds: begun, looked at, ended, forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from geard.builds import records, sending, watching
from geard.builds.carrying import carry_out
from geard.builds.concluding import conclude
from geard.builds.keeping import seen, tidy
from geard.builds.records import ENDED, Folders, Order
from geard.builds.requests import (
    AwaitBuild,
    Build,
    BuildImage,
    BuildLine,
    BuildList,
    BuildOnPush,
    BuildPushed,
    BuildsOnPush,
    CancelBuild,
    CancelledBuild,
    CarryOutBuild,
    ConcludeBuild,
    FollowBuild,
    ForgetOnPush,
    ForgotOnPush,
    GetBuild,
    ListBuilds,
    ListOnPush,
    OnPush,
    RemoveBuild,
    RemovedBuild,
    SendSource,
    ShowUsage,
    StartedBuild,
)
from geard.builds.scripts import parse_artifacts, parse_scripts_url
from geard.builds.settings import BuildSettings
from geard.builds.sources import check_ref, parse_source
from geard.containers.sizes import parse_size
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.environments.file import check_variables
from geard.environments.sources import check_source
from geard.exchange import Line, Talk
from geard.failures import AlreadyExists, Conflict, Denied, Failure, Invalid
from geard.host import Host
from geard.identifiers import check_absolute, check_id
from geard.images.names import check_image, complete_name
from geard.images.pulling import check_obtainable
from geard.images.settings import RegistrySettings
from geard.jobs.output import Reader
from geard.request import Nothing

LOOK_SECONDS = 0.15
STOP_SECONDS = 120.0
LINE_LIMIT = 16_384
SLICE = "geard-build.slice"


@operation
async def build_image(request: BuildImage, work: Work) -> StartedBuild:
    _check(request, work)
    for image in filter(None, (request.base_image, request.runtime_image)):
        await check_obtainable(work.host, work.host.engine_named("podman"), image)
    return await _accept(request, work)


@operation
async def send_source(request: SendSource, work: Work) -> Talk:
    if records.sent(work.host.paths, request.id).exists():
        raise AlreadyExists(f"there is a source {request.id} already", hint="another name")
    settings = work.host.settings.section(BuildSettings)
    limit, spare = parse_size(settings.source_limit), parse_size(settings.spare_disk)

    async def talk(line: Line) -> int:
        return await sending.receive(work.host.paths, request.id, line, limit=limit, spare=spare)

    return talk


@operation
async def show_usage(request: ShowUsage, work: Work) -> StartedBuild:
    check_image(request.base_image)
    if request.scripts:
        _check_scripts(request.scripts, work)
    await check_obtainable(work.host, work.host.engine_named("podman"), request.base_image)
    wish = BuildImage(source="", base_image=request.base_image, tag="", name=request.name, scripts=request.scripts)
    return await _accept(wish, work, usage=True)


async def _accept(wish: BuildImage, work: Work, *, usage: bool = False) -> StartedBuild:
    """On disk, and begun behind the answer."""
    id = records.id_for(wish.name, work.id)
    order = Order(request=work.id, asker=work.asker.name, asked=records.now(), wish=wish, usage=usage)
    await work.on_disk(records.create, work.host.paths, id, order)
    work.owe(AwaitBuild(id=id))
    return StartedBuild(id=id, tag=wish.tag, unit=records.unit_name(id))


@operation
async def await_build(request: AwaitBuild, work: Work) -> Nothing:
    """Whoever does this again finds it begun, and tells the rest."""
    host, folders = work.host, Folders.of(work.host.paths, request.id)
    build = records.read_build(folders)
    if build is None:
        raise Conflict(f"build {request.id} was removed before it had ended")
    await _begin(host, folders)
    if not work.lasting:
        return Nothing()
    told = 0
    async for line in _lines(host, folders, "", follow=True):
        told += len(line.message)
        work.say("building", line.message, request.id)
    build = records.check_there(folders)
    build = (await seen(host, [build]))[0]
    if build.state != "done":
        raise failure_of(build)
    work.conclude("built", f"{build.tag} is {build.image}" if build.image else "done", request.id)
    return Nothing()


async def _begin(host: Host, folders: Folders) -> None:
    """Where nobody has."""
    build, id = records.read_build(folders), folders.id
    if build is None or build.state in ENDED or folders.begun.exists():
        return
    words = ["/usr/bin/gear", "builds", "--carry-out", id]
    after = ["/usr/bin/gear", "builds", "--conclude", id]
    properties: list[tuple[str, str, object]] = [
        ("Description", "s", f"geard: build {id} of {build.tag}"),
        ("Type", "s", "exec"),
        ("ExecStart", "a(sasb)", [[words[0], words, False]]),
        ("ExecStopPost", "a(sasb)", [[after[0], after, False]]),
        ("Slice", "s", SLICE),
        ("CollectMode", "s", "inactive-or-failed"),
        ("RequiresMountsFor", "as", [str(host.paths.base)]),
        ("KillMode", "s", "mixed"),
        ("TimeoutStopUSec", "t", 60_000_000),
        ("OOMPolicy", "s", "continue"),
    ]
    await host.systemd.start_transient(folders.unit, properties)
    await asyncio.to_thread(folders.begun.touch)


def failure_of(build: Build) -> Failure:
    where = f" at {build.step}" if build.step else ""
    told = "".join(f"\n  {line}" for line in build.last_lines)
    return Failure(
        f"build {build.id} of {build.tag} {'was cancelled' if build.state == 'cancelled' else 'failed'}{where}"
        + (f": {build.reason}" if build.reason else "")
        + told,
        hint=f"gear builds log {build.id} has all it printed",
    )


@operation
async def list_builds(request: ListBuilds, work: Work) -> BuildList:
    def read() -> list[Build]:
        found = [records.read_build(Folders(work.host.paths, id)) for id in records.listed(work.host.paths)]
        return [build for build in found if build is not None and request.tag in ("", build.tag)]

    builds = await seen(work.host, await work.on_disk(read))
    return BuildList(builds=tuple(sorted(builds, key=lambda build: build.asked, reverse=True)))


@operation
async def get_build(request: GetBuild, work: Work) -> Build:
    folders = Folders.of(work.host.paths, request.id)
    return (await seen(work.host, [await work.on_disk(records.check_there, folders)]))[0]


@operation
async def follow_build(request: FollowBuild, work: Work) -> AsyncIterator[BuildLine]:
    folders = Folders.of(work.host.paths, request.id)
    await work.on_disk(records.check_there, folders)
    if request.after and not request.after.isdigit():
        raise Invalid(f"{request.after[:80]!r} is no cursor of a build's")
    async for line in _lines(work.host, folders, request.after, follow=request.follow):
        yield line


async def _lines(host: Host, folders: Folders, after: str, *, follow: bool) -> AsyncIterator[BuildLine]:
    """Whole lines, as they come; what has no line end yet waits for it, or for the build's end."""
    reader = Reader(str(folders.base), int(after or 0))
    rest, looked = b"", 0.0
    try:
        while True:
            ended = not follow
            if (not ended and time.monotonic() - looked > 1) or reader.place == 0:
                ended = ended or await _has_ended(host, folders)
                looked = time.monotonic()
            while (record := reader.read()) is not None:
                whole, newline, rest = (rest + record.data).rpartition(b"\n")
                if not newline and len(rest) > LINE_LIMIT:
                    whole, newline, rest = rest, b"\n", b""
                if newline or record.missing:
                    stamp = records.render_time(record.time / 1_000_000)
                    yield _line(whole, stamp, str(reader.place), record.missing)
            if ended:
                break
            if _state_says_ended(folders):
                looked = 0.0
                continue
            await asyncio.sleep(LOOK_SECONDS)
        if rest:
            yield _line(rest, records.now(), str(reader.place), 0)
    finally:
        reader.close()


def _line(data: bytes, stamp: str, cursor: str, skipped: int) -> BuildLine:
    text = data.decode(errors="replace").replace("\r\n", "\n")
    return BuildLine(time=stamp, message=text, cursor=cursor, skipped=skipped)


def _state_says_ended(folders: Folders) -> bool:
    build = records.read_build(folders)
    return build is None or build.state in ENDED


async def _has_ended(host: Host, folders: Folders) -> bool:
    build = records.read_build(folders)
    return build is None or (await seen(host, [build]))[0].state in ENDED


@operation
async def cancel_build(request: CancelBuild, work: Work) -> CancelledBuild:
    folders = Folders.of(work.host.paths, request.id)
    build = (await seen(work.host, [await work.on_disk(records.check_there, folders)]))[0]
    if build.state in ENDED:
        return CancelledBuild(id=request.id, was=build.state)
    await work.on_disk(folders.cancelled.touch)
    await work.host.systemd.stop(folders.unit, wait=STOP_SECONDS)
    if not _state_says_ended(folders):  # it had not begun, or its unit was gone already
        await conclude(work.host, request.id)
    return CancelledBuild(id=request.id, was=build.state)


@operation
async def remove_build(request: RemoveBuild, work: Work) -> RemovedBuild:
    folders = Folders.of(work.host.paths, request.id)
    build = records.read_build(folders)
    if build is not None and (await seen(work.host, [build]))[0].state not in ENDED:
        raise Conflict(f"build {request.id} has not ended", hint=f"gear builds cancel {request.id} ends it")
    return RemovedBuild(id=request.id, removed=await work.on_disk(records.remove, folders))


@operation
async def carry_out_build(request: CarryOutBuild, work: Work) -> Nothing:
    await carry_out(work.host, check_id(request.id, "build"))
    return Nothing()


@operation
async def conclude_build(request: ConcludeBuild, work: Work) -> Nothing:
    await conclude(work.host, check_id(request.id, "build"))
    await tidy(work.host)
    return Nothing()


@operation
async def build_on_push(request: BuildOnPush, work: Work) -> OnPush:
    check_id(request.id, "repository")
    if request.ref:
        check_ref(request.ref)
    wish = BuildImage(
        source=f"repo://{request.id}",
        base_image=request.base_image,
        tag=request.tag,
        start=request.start,
        clean=request.clean,
        environment=request.environment,
        network=request.network,
    )
    _check(wish, work)
    watch = watching.Watch(repository=request.id, wish=wish, ref=request.ref, since=work.id)
    await work.on_disk(watching.keep, work.host.paths, watch)
    await _build_pushed(request.id, work)
    return _on_push(watch)


@operation
async def build_pushed(request: BuildPushed, work: Work) -> Nothing:
    for watch in await work.on_disk(watching.watches, work.host.paths):
        await _build_pushed(watch.repository, work)
    return Nothing()


async def _build_pushed(repository: str, work: Work) -> None:
    """Begun, and left to itself: nobody waits for what comes of it."""
    if id := await work.on_disk(watching.begin, work.host.paths, repository):
        first = partial(_begin, work.host, Folders.of(work.host.paths, id))
        work.owe(AwaitBuild(id=id), first=first)


@operation
async def list_on_push(request: ListOnPush, work: Work) -> BuildsOnPush:
    found = await work.on_disk(watching.watches, work.host.paths)
    return BuildsOnPush(repositories=tuple(map(_on_push, found)))


@operation
async def forget_on_push(request: ForgetOnPush, work: Work) -> ForgotOnPush:
    check_id(request.id, "repository")
    removed = await work.on_disk(watching.remove, work.host.paths, request.id)
    return ForgotOnPush(id=request.id, removed=removed)


def _on_push(watch: watching.Watch) -> OnPush:
    wish = watch.wish
    return OnPush(
        id=watch.repository, ref=watch.ref, base_image=wish.base_image, tag=wish.tag, start=wish.start,
        built=watch.built,
    )  # fmt: skip


def _check(request: BuildImage, work: Work) -> None:
    """Raises Invalid for what cannot be, Denied for what this asker may not have the host read."""
    source = parse_source(request.source, request.ref)
    if source.kind == "input":
        raise Invalid("standard input is read by gear build alone", hint="an archive's URL, or a path of the host")
    if source.at.startswith("/") and not work.asker.may("admin"):
        raise Denied("building what lies on the host takes the scope admin", hint="a git URL or an archive's")
    if source.kind == "archive":
        check_source(source.at, work.asker, work.host)
    for image in filter(None, (request.base_image, request.runtime_image)):
        check_image(image)
    check_image(request.tag)
    if "@" in request.tag or len(request.tag) == 64:
        raise Invalid(f"{request.tag} is no name that an image can be given", hint="NAME or NAME:TAG")
    if request.scripts:
        _check_scripts(request.scripts, work)
    if request.start:
        check_id(request.start)
    parse_artifacts(request.artifacts)
    check_variables({each.name: each.value for each in request.environment})
    for path in request.cache:
        check_absolute(path, "inside a build")
    if request.memory:
        parse_size(request.memory)
    for name, value in (("cpus", request.cpus), ("pids", request.pids), ("time limit", request.time_limit)):
        if value is not None and value < 0:
            raise Invalid(f"{name}: not below 0")
    complete_name(request.tag, work.host.settings.section(RegistrySettings).default)


def _check_scripts(url: str, work: Work) -> None:
    place = parse_scripts_url(url)
    if place.way == "file" and not work.asker.may("admin"):
        raise Denied("scripts that lie on the host take the scope admin", hint="http://…, or image:///PATH")
    if place.way == "http":
        check_source(url, work.asker, work.host)
