"""Containers, done. Each deed writes what must last, answers, and goes on behind the answer."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import msgspec

from geard.containers import asleep, bounding, deleting, hooks, installing, lifecycle, listing, looking, versions
from geard.containers.defaults import decide
from geard.containers.definition import Definition
from geard.containers.folders import Folders, unit_name
from geard.containers.history import history
from geard.containers.host_files import trouble
from geard.containers.requests import (
    Accepted,
    CompleteContainer,
    ContainerList,
    ContainerStatus,
    DefinitionText,
    DeleteContainer,
    GetContainerStatus,
    GetHistory,
    GoOn,
    History,
    InstallContainer,
    InstalledContainer,
    ListContainers,
    Preview,
    PreviewInstall,
    PurgeContainers,
    RestartContainer,
    RollBackContainer,
    ShowDefinition,
    StartContainer,
    StartWanted,
    StopContainer,
    UpdateContainer,
    Wish,
)
from geard.containers.settings import Allowances
from geard.containers.updating import only_asks_anew, updated, wish_of
from geard.containers.wishes import check_sources, check_wish
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.events.entries import note
from geard.failures import Denied, Failure, Invalid, NotFound, Unavailable, no_such_gear
from geard.host.engine import Image
from geard.host.storage import Changes, locked, read_text
from geard.identifiers import check_id
from geard.images.pulling import bring, check_obtainable
from geard.ports.pairs import changed_ports, check_change, describe_mapping
from geard.ports.requests import ChangedPorts, ChangePorts, PublishedPorts
from geard.words import Part, decode, encode, part_of

STARTS_AT_ONCE = max(4, 2 * (os.cpu_count() or 1))
TURN_SECONDS = 5.0


@operation
async def install_container(request: InstallContainer, work: Work) -> InstalledContainer:
    parts = await _checked(request, work)
    wish = msgspec.structs.replace(request, parts=parts)
    image = work.host.engine_named(request.engine).known(request.image)
    settled = await work.on_disk(installing.settle, work.host, wish, work.id, work.asker.name, work.facets, image)
    _note(work, settled, "installed" if settled.new else "updated")

    # A start completes what is not complete; what is may mean another image by now. One that was known needs
    # nothing more, unless it has volumes to be made.
    fresh = image is not None and not lifecycle.has_volumes(settled.definition)
    renew = not fresh and (settled.definition.complete or not request.started)
    work.owe(
        GoOn(
            id=request.id, what="install", started=request.started, renew=renew, reload=settled.reload,
            new=settled.new,
        )
    )  # fmt: skip
    return await _installed(work, settled, started=request.started)


def _note(work: Work, settled: installing.Settled, kind: str, message: str = "") -> None:
    """An event, where something has changed."""
    if settled.changed:
        now = settled.definition
        message = message or f"{now.image}, version {now.version}"
        note(
            work.host.journal, kind, message, gear=now.id, request=work.id, by=work.asker.name,
            version=now.version, image=now.image,
        )  # fmt: skip


@operation
async def go_on(request: GoOn, work: Work) -> Accepted:
    """Behind the answer, in the process that gave it, or in a later one where that was killed."""
    id = check_id(request.id)
    match request.what:
        case "install":
            await _bring_about(request, work)
        case "update" if request.pending:
            await _update_owed(request, work)
        case "update":
            await _brought_in(request, work)
        case "start":
            await lifecycle.start(work, id)
        case "restart":
            started = await work.on_disk(versions.started_at, Folders.of(work.host.paths, id))
            await lifecycle.start(work, id, restart=started <= request.since)
        case "stop" if Folders.of(work.host.paths, id).wanted.is_symlink():
            work.conclude("canceled", f"{id} was told to start meanwhile", id)
        case "stop":
            seconds = lifecycle.STOP_SECONDS if request.seconds is None else request.seconds
            await lifecycle.stop(work, id, seconds=seconds)
        case "delete":
            await lifecycle.clear(work, id)
        case "ports":
            await lifecycle.adapt(work, id, PublishedPorts, changed=request.changed)
    return Accepted(id=id, message="")


async def _bring_about(request: GoOn, work: Work) -> None:
    id, unit = request.id, unit_name(request.id)
    if request.reload or (request.new and unit in await work.host.systemd.units(unit)):
        await work.host.systemd.reload()
    if work.lasting and request.renew:
        await lifecycle.complete(work, id, renew=True)
    if request.started:
        await lifecycle.start(work, id, renew=True)
    elif work.lasting:
        await hooks.pay(work, id)
        work.say("installed", f"{id} is installed", id)


async def _installed(work: Work, settled: installing.Settled, *, started: bool) -> InstalledContainer:
    ports = part_of(PublishedPorts, settled.definition.parts)
    advice: tuple[str, ...] = ()
    if settled.definition.volume_config.volume_mounts:
        advice = tuple(await work.on_disk(trouble, settled.definition))  # a dead NFS server makes a look wait
    return InstalledContainer(
        id=settled.definition.id,
        version=settled.definition.version,
        ports=ports.value if ports is not None else (),
        started=started,
        changed=settled.changed,
        advice=advice,
    )


@operation
async def preview_install(request: PreviewInstall, work: Work) -> Preview:
    await _checked(request, work)
    return await work.on_disk(installing.preview, work.host, request, work.id, work.asker.name, work.facets)


def _check(wish: Wish, work: Work) -> None:
    allowed = work.host.settings.section(Allowances)
    check_wish(wish, work.asker, allowed)
    engine, default = work.host.engine_named(wish.engine), work.host.engine
    bounding.check_host(work.host, engine, decide(wish, work.host.settings).limits)
    if not (engine.maps_users or engine is default or allowed.simple or work.asker.may("admin")):
        raise Denied(
            f"on {engine.name} a gear shares the host's users: to choose that takes the scope admin",
            hint="[allow] simple in /etc/geard/geard.toml permits it for others; or leave out --engine",
        )


async def _checked(wish: Wish, work: Work) -> tuple[Part, ...]:
    _check(wish, work)
    await check_obtainable(work.host, work.host.engine_named(wish.engine), wish.image)
    if wish.volume_config.volume_mounts:
        await work.on_disk(check_sources, wish)
    return await _checked_parts(wish.parts, work, fetch=isinstance(wish, InstallContainer))


async def _checked_parts(asked: tuple[Part, ...], work: Work, *, fetch: bool) -> tuple[Part, ...]:
    known = {facet.part: facet for facet in work.facets}
    parts: list[Part] = []
    for part in asked:
        facet = known.get(type(part))
        if facet is None:
            raise Invalid(f"this host knows no {part.key} of a gear")
        facet.check(work.host, part, work.asker)
        parts.append(await facet.fetch(work.host, part) if fetch else part)
    return tuple(parts)


@operation
async def update_container(request: UpdateContainer, work: Work) -> InstalledContainer:
    """Where an image has to be looked for first, the gear stays as it is until that is here: an update that is
    cut short or refused by a registry takes nothing away. Meanwhile it is on record, and the next agent does it.
    """
    host, id = work.host, request.id
    folders = Folders.of(host.paths, id)
    asked = await _checked_parts(request.parts, work, fetch=True)
    now = await work.on_disk(versions.require, folders)

    def plan(before: Definition | None) -> Wish:
        if before is None:
            raise no_such_gear(id)
        facets = {facet.part: facet for facet in work.facets}
        parts = tuple(facets[type(p)].amend(p, part_of(type(p), before.parts)) for p in asked)
        for part in parts:  # variables go into the environment that it reads, which may be another's
            work.asker.check_reach(part.names())
        wish = updated(wish_of(before), request, parts)
        _check(wish, work)
        if request.volume_config is not None:
            check_sources(wish)
        return wish

    async def settle(image: Image | None) -> installing.Settled:
        settled = await work.on_disk(
            installing.settle_planned, host, id, plan, work.id, work.asker.name, work.facets, image
        )
        _note(work, settled, "updated")
        return settled

    def brought_in(settled: installing.Settled) -> GoOn:
        return GoOn(id=id, what="update", later=request.later, reload=settled.reload, changed=settled.changed)

    wish = plan(now)
    renew = request.renew or only_asks_anew(request)
    engine = host.engine_named(decide(wish, host.settings).engine)
    if request.image:
        await check_obtainable(host, engine, wish.image)
    known = engine.known(wish.image) if request.image else None
    same_image = (wish.image, engine.name) == (now.image, now.engine)
    if not renew and (same_image or known is not None):
        settled = await settle(known)
        work.owe(brought_in(settled))
        return await _installed(work, settled, started=False)

    await work.on_disk(_owe_update, folders, request)

    def say(phase: str, text: str) -> None:
        work.say(phase, text, id)

    async def bring_about() -> None:
        try:
            async with work.turn():
                image = await bring(host, engine, wish.image, say, fresh=renew, request=work.id)
            settled = await settle(image)
        except Failure:
            # Told, so not owed any more; one that is cut short still is.
            await work.on_disk(_forget_update, folders)
            raise
        await work.on_disk(_forget_update, folders)
        await _brought_in(brought_in(settled), work)

    work.owe(GoOn(id=id, what="update", pending=True, later=request.later), first=bring_about)
    return InstalledContainer(id=id, version=work.id, pending=True)


def _owe_update(folders: Folders, request: UpdateContainer) -> None:
    # Locked: who holds the lock sweeps drafts away, and this is none of a killed writer.
    with Changes() as changes, locked(folders.versions):
        changes.write(folders.owed_update, encode(request), 0o600)


def _forget_update(folders: Folders) -> None:
    with Changes() as changes:
        changes.remove(folders.owed_update)


async def _update_owed(request: GoOn, work: Work) -> None:
    """An update whose image was being looked for when an earlier agent ended; once its words are gone, it was
    brought to disk, or newer ones came.
    """
    folders = Folders.of(work.host.paths, request.id)
    words = await work.on_disk(read_text, folders.owed_update)
    if words is None:
        await _brought_in(request, work)
    else:
        await update_container(decode(UpdateContainer, words), work)


async def _brought_in(request: GoOn, work: Work) -> None:
    """What was settled for a gear that was there comes into force: now, or with its next start."""
    id = request.id
    folders = Folders.of(work.host.paths, id)
    if request.reload:
        await work.host.systemd.reload()
    definition = await work.on_disk(versions.current, folders)
    if definition is None:
        return
    if not definition.complete or lifecycle.has_volumes(definition):
        await lifecycle.complete(work, id)
    await hooks.pay(work, id)
    if request.later or not folders.wanted.is_symlink():
        what = "is changed; it comes with the next start" if request.changed else "is as it was"
        work.conclude("updated", f"{id} {what}", id)
        return
    try:
        await lifecycle.start(work, id, renew=True)
    except Unavailable as failure:
        raise Unavailable(failure.message, hint=f"gear rollback {id} brings the version before back") from None


@operation
async def roll_back_container(request: RollBackContainer, work: Work) -> InstalledContainer:
    settled = await work.on_disk(
        installing.roll_back, work.host, check_id(request.id), request.version, work.facets
    )
    _note(work, settled, "updated", f"back to version {settled.definition.version}")
    work.owe(
        GoOn(id=request.id, what="update", later=request.later, reload=settled.reload, changed=settled.changed)
    )
    answer = await _installed(work, settled, started=False)
    return msgspec.structs.replace(answer, earlier=settled.changed)


@operation
async def get_history(request: GetHistory, work: Work) -> History:
    return await work.on_disk(history, Folders.of(work.host.paths, request.id))


@operation
async def change_ports(request: ChangePorts, work: Work) -> ChangedPorts:
    check_change(request)
    asked = await _checked_parts((PublishedPorts(value=request.ports),), work, fetch=True)
    placed = part_of(PublishedPorts, asked) or PublishedPorts(value=())
    settled = await work.on_disk(
        installing.revise, work.host, request.id, work.id, work.asker.name, work.facets, PublishedPorts,
        lambda now: changed_ports(now, request, placed.value),
    )  # fmt: skip
    work.owe(GoOn(id=request.id, what="ports", changed=settled.changed))
    ports = part_of(PublishedPorts, settled.definition.parts)
    _note(work, settled, "ports", describe_mapping(ports.value if ports is not None else ()) or "none")
    return ChangedPorts(
        id=request.id,
        ports=ports.value if ports is not None else (),
        version=settled.definition.version,
        changed=settled.changed,
    )


@operation
async def start_container(request: StartContainer, work: Work) -> Accepted:
    await work.on_disk(_want, work, request.id)
    work.owe(GoOn(id=request.id, what="start"))
    return Accepted(id=request.id, message=f"Container {request.id} is starting")


@operation
async def restart_container(request: RestartContainer, work: Work) -> Accepted:
    await work.on_disk(_want, work, request.id)
    # What is to end is the run that is there now, whatever the clock says: that may have been set since it began.
    started = await work.on_disk(versions.started_at, Folders.of(work.host.paths, request.id))
    work.owe(GoOn(id=request.id, what="restart", since=started))
    return Accepted(id=request.id, message=f"Container {request.id} is restarting")


def _want(work: Work, id: str) -> None:
    """On record: this gear is to run."""
    folders = Folders.of(work.host.paths, id)
    if not folders.unit.exists():
        raise no_such_gear(id)
    with Changes() as changes:
        changes.folder(folders.wanted.parent)
        changes.point(folders.known, folders.unit)
        changes.point(folders.wanted, folders.unit)
        asleep.forget(folders, changes)


@operation
async def stop_container(request: StopContainer, work: Work) -> Accepted:
    await work.on_disk(_want_not, work, request.id)
    seconds = lifecycle.STOP_SECONDS if request.timeout is None else request.timeout
    work.owe(
        GoOn(id=request.id, what="stop", seconds=request.timeout),
        first=lambda: lifecycle.stop(work, request.id, seconds=seconds),
    )
    return Accepted(id=request.id, message=f"Container {request.id} is stopping")


def _want_not(work: Work, id: str) -> None:
    folders = Folders.of(work.host.paths, id)
    if not folders.unit.exists():
        raise no_such_gear(id)
    _owe_stop(folders)
    with Changes() as changes:
        asleep.forget(folders, changes)
        changes.remove(folders.wanted)


def _owe_stop(folders: Folders) -> None:
    """What an agent that dies now still owes systemd; in /run, since a boot stops everything anyway."""
    folders.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    folders.owed_stop.touch()


@operation
async def delete_container(request: DeleteContainer, work: Work) -> Accepted:
    there = Folders.of(work.host.paths, request.id).unit.exists()
    found = await work.on_disk(deleting.hide, work.host, request.id, work.facets, purge=request.purge)
    if not found:
        return Accepted(id=request.id, message=f"{request.id} was not there")
    if there:  # and is no more; what is left of an earlier deletion is no event
        note(work.host.journal, "deleted", gear=request.id, request=work.id, by=work.asker.name)
    work.owe(GoOn(id=request.id, what="delete"))
    return Accepted(id=request.id, message=f"Deleted {request.id}")


@operation
async def purge_containers(request: PurgeContainers, work: Work) -> Accepted:
    ids = await work.on_disk(listing.installed, work.host.paths)

    def forget() -> None:
        with Changes() as changes:
            for id in ids:
                folders = Folders.of(work.host.paths, id)
                _owe_stop(folders)
                asleep.forget(folders, changes)
                changes.remove(folders.wanted)

    await work.on_disk(forget)
    work.owe(*(GoOn(id=id, what="stop") for id in ids), first=lambda: _each(work, ids, lifecycle.stop))
    return Accepted(id="", message=f"Stopping {len(ids)} container{'s' if len(ids) != 1 else ''}")


async def _each(work: Work, ids: list[str], deed: lifecycle.Deed) -> None:
    """Do it to every gear, a few at a time, whatever becomes of the others; raise the first failure at the end.

    One that takes long (it waits for its registry, its program for nothing) makes way for the next.
    """
    slots = asyncio.Semaphore(STARTS_AT_ONCE)
    failures: list[Failure] = []

    async def one(id: str) -> None:
        try:
            await deed(work, id)
        except Failure as failure:
            failures.append(failure)
            work.say("failed", f"{id}: {failure.message}", id)

    async def in_turn(id: str, group: asyncio.TaskGroup) -> None:
        async with slots:
            await asyncio.wait({group.create_task(one(id))}, timeout=TURN_SECONDS)

    async with asyncio.TaskGroup() as group:
        for id in ids:
            group.create_task(in_turn(id, group))
    if failures:
        raise failures[0]


@operation
async def start_wanted(request: StartWanted, work: Work) -> Accepted:
    """The boot. Every gear that is to run is started, a few at a time; none waits for another's failure."""
    # Where the disk was mounted after PID 1 had read the units, it knows none of what is linked from there.
    if (await work.host.systemd.properties("container-active.target"))["LoadState"] == "not-found":
        await work.host.systemd.reload()
    ids = await work.on_disk(listing.wanted, work.host.paths)
    await work.on_disk(_make_known, work, ids)
    for id in await work.on_disk(lambda: list(deleting.left_over(work.host))):
        await lifecycle.clear(work, id)
    for id in await work.on_disk(listing.installed, work.host.paths):
        await work.on_disk(installing.put_right, work.host, id, work.facets)
    holds = await work.on_disk(_hold_idle, work)

    async def bring_about() -> None:
        if holds:
            with suppress(NotFound):
                await work.host.systemd.start(asleep.WAKER)
        try:
            await _each(work, ids, lifecycle.boot)
        finally:
            # Now that what it wants has been tried, the target says so; to start it first would start all at once.
            with suppress(NotFound):  # before the first `gear setup`
                await work.host.systemd.start("container-active.target")

    work.then(bring_about)
    return Accepted(id="", message=f"Starting {len(ids)} container{'s' if len(ids) != 1 else ''}")


def _hold_idle(work: Work) -> bool:
    """Idle gears stay idle over a boot: whether there are any whose first connections are to be held."""
    found = False
    for id in listing.idle(work.host.paths):
        folders = Folders(work.host.paths, id)
        definition = versions.current(folders)
        if definition is not None:
            with Changes() as changes:
                changes.point(folders.known, folders.unit)
                changes.remove(folders.wanted)  # a crash may have come between the flag and that
            asleep.hold(folders, definition)
            found = True
    return found


def _make_known(work: Work, ids: list[str]) -> None:
    """The links are the machine's, what is to run is on the disk: they may have been lost, or be another's. And an
    install's answer does not wait for them, so a power cut may have taken some.
    """
    paths = work.host.paths
    with Changes() as changes:
        for folders in (Folders(paths, id) for id in sorted({*ids, *listing.not_known(paths)})):
            changes.point(folders.known, folders.unit)


@operation
async def complete_container(request: CompleteContainer, work: Work) -> Accepted:
    done = await lifecycle.complete(work, request.id)
    if done is None:
        raise no_such_gear(request.id)
    return Accepted(id=request.id, message=f"{request.id} runs {done.image_id}")


@operation
async def list_containers(request: ListContainers, work: Work) -> ContainerList:
    units = await work.host.systemd.units("ctr-*.service")
    found = await work.on_disk(listing.combine, work.host.paths, units, all=request.all)
    return ContainerList(containers=tuple(row for row in found if work.asker.reaches(row.id)))


@operation
async def get_container_status(request: GetContainerStatus, work: Work) -> ContainerStatus:
    return await looking.look(work, request.id, request.lines)


@operation
async def show_definition(request: ShowDefinition, work: Work) -> DefinitionText:
    folders = Folders.of(work.host.paths, request.id)
    await work.on_disk(versions.require, folders)
    return DefinitionText(id=request.id, files=await work.on_disk(looking.files, work.host, folders, work.facets))
