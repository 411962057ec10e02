"""What happens behind the answer: images brought here, units started and stopped, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from geard.containers import asleep, bounding, deleting, hooks, installing, networks, versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders, unit_name
from geard.containers.units import gear_of
from geard.dispatch.work import Work
from geard.events.entries import ASKED, note
from geard.failures import Conflict, Failure, NotFound, TimedOut, Unavailable
from geard.host.storage import locked, read_text
from geard.images.names import check_image
from geard.images.pulling import bring, bring_pinned
from geard.ports.pairs import describe_mapping
from geard.ports.requests import PublishedPorts
from geard.words import Part, part_of

START_SECONDS = 7 * 3_600.0  # a start may wait for a pull
STOP_SECONDS = 3_700.0
SETTLE_SECONDS = 0.7
"""how long a start is watched after systemd called it done: a program that dies at once dies in this time"""


NOT_READY = "the rules that keep gears apart are not in force on this host"

Deed = Callable[[Work, str], Coroutine[Any, Any, None]]


async def complete(work: Work, id: str, *, renew: bool = False) -> Definition | None:
    """Have the gear's image here and its definition whole; None where the gear went away meanwhile.

    A definition that is whole keeps the very image it names, which is pulled by its digest where it is gone; with
    `renew`, it takes the one that its name means here now.
    """
    host = work.host
    while True:
        definition = await work.on_disk(versions.current, Folders.of(host.paths, id))
        if definition is None:
            return None
        engine = host.engine_named(definition.engine)
        await networks.make(host, engine)

        def say(phase: str, text: str) -> None:
            work.say(phase, text, id)

        async with work.turn():
            if definition.complete and not renew:
                image = await bring_pinned(
                    host, engine, definition.image, definition.image_id, definition.digest, say, request=work.id
                )
            else:
                try:
                    image = await bring(host, engine, check_image(definition.image), say, request=work.id)
                except NotFound as failure:
                    hint = f"check the name and the tag; then gear update {id} --image IMAGE"
                    raise NotFound(failure.message, hint=hint) from None
        done = await work.on_disk(installing.complete, host, id, definition.version, image, work.facets, work.id)
        if done is not None:
            if done.version != definition.version:
                newer = f"{done.image}, version {done.version}: another image has its name now"
                note(work.host.journal, "updated", newer, gear=id, request=work.id, by=work.asker.name,
                     version=done.version, image=done.image)  # fmt: skip
            _tell_ports(work, definition, done)
            await _fill_volumes(work, done)
            await hooks.pay(work, id)
            return done


def _tell_ports(work: Work, before: Definition, after: Definition) -> None:
    """Those that only the image could tell: the answer could not name them yet."""
    was, now = (part_of(PublishedPorts, definition.parts) for definition in (before, after))
    if now is not None and now.value and (was is None or was.value != now.value):
        ports = describe_mapping(now.value)
        work.conclude("ports", f"PortMapping: {ports}", after.id)
        note(work.host.journal, "ports", ports, gear=after.id, request=work.id, by=work.asker.name)


def has_volumes(definition: Definition) -> bool:
    return bool(definition.volume_config.volumes or definition.image_volumes)


async def _fill_volumes(work: Work, definition: Definition) -> None:
    """Make the gear's own volumes that are not there yet, with what the image has in their place. One fills them,
    who comes meanwhile waits.
    """
    folders = Folders.of(work.host.paths, definition.id)
    if not await work.on_disk(installing.missing_volumes, work.host, definition):
        await work.on_disk(bounding.hold_disk, work.host, folders, definition)
        return
    engine = work.host.engine_named(definition.engine)
    folder = await work.on_disk(installing.make_data_folder, work.host, definition)
    with ExitStack() as held:
        while True:
            try:
                await work.on_disk(held.enter_context, locked(folder, wait=False))
                break
            except Conflict:
                await asyncio.sleep(0.05)
        for path, draft in await work.on_disk(installing.make_volumes, work.host, definition):
            await engine.image_files(definition.image_id, path, draft)
            await work.on_disk(installing.adopt_volume, draft)
    await work.on_disk(bounding.hold_disk, work.host, folders, definition)


def running_engine(folders: Folders, definition: Definition) -> str:
    """The engine that it was started on last, which may be another than that of what is installed."""
    return (read_text(folders.state / "engine") or definition.engine).strip()


async def start(work: Work, id: str, *, restart: bool = False, renew: bool = False) -> None:
    """Have what is installed run, and see that it does.

    One that runs already is left alone; with `renew`, it is restarted where it runs something older than what is
    installed. Raises Unavailable with the reason where it does not stay up. systemd goes on trying then.
    """
    if not work.lasting:
        systemd, unit = work.host.systemd, unit_name(id)
        restart = restart or Folders.of(work.host.paths, id).ready.exists()
        _note_asked(work, id, "restart" if restart else "start")
        await (systemd.restart(unit) if restart else systemd.start(unit))
        return
    definition = await _completed(work, id)
    if definition is not None:
        async with work.turn():
            result = await _started(work, id, definition, restart=restart, renew=renew)
        if result:  # its first moments are only looked at: the next has its turn meanwhile
            await _conclude(work, id, result)


async def _started(work: Work, id: str, definition: Definition, *, restart: bool, renew: bool) -> str:
    """What systemd made of it; nothing where there is no more to see."""
    host, unit = work.host, unit_name(id)
    folders = Folders.of(host.paths, id)
    found = await host.systemd.state(unit)
    # It was idle: its container is there, and its program has yet to begin.
    restart = restart or folders.ready.exists()
    if found.active == "active" and not restart:
        newest = await work.on_disk(_up_to_date, work, folders, definition)
        if newest and renew:
            # The start that brought it in may have been cut before that.
            await work.on_disk(installing.tidy, host, id, work.facets)
        if newest or not renew:
            older = "" if newest else f", as it was before its last change: gear restart {id} brings that in"
            work.conclude("started", f"{id} is running{older}", id)
            return ""
        restart = True
    if found.active == "activating" and found.sub != "auto-restart" and renew:
        restart = True  # what is being started may be what was installed before: such a start would end with it
    if found.active == "failed" or found.sub == "auto-restart":
        await host.systemd.reset_failed(unit)
    if not folders.wanted.is_symlink():
        work.conclude("canceled", f"{id} was told to stop meanwhile", id)
        return ""
    work.say("starting", f"{'restarting' if restart else 'starting'} {id}", id)
    _note_asked(work, id, "restart" if restart else "start")
    ask = host.systemd.restart if restart else host.systemd.start
    result = await ask(unit, wait=START_SECONDS)
    if not folders.wanted.is_symlink():
        # A newer stop may have reached systemd before this start did; the newer word holds.
        await host.systemd.stop(unit)
        work.conclude("canceled", f"{id} was told to stop meanwhile", id)
        return ""
    return result


async def _conclude(work: Work, id: str, result: str) -> None:
    """Whether it stays up. Raises Unavailable with the reason where it does not."""
    host, unit = work.host, unit_name(id)
    folders = Folders.of(host.paths, id)
    state = await _watch(work, unit) if result == "done" else await _settled(work, unit)
    if result == "done" and state["ActiveState"] == "active":
        await work.on_disk(installing.tidy, host, id, work.facets)
        work.conclude("started", f"{id} is running", id)
    elif result == "canceled" and not (folders.state / "failure").exists():
        work.conclude("canceled", f"{id} was told something else meanwhile", id)
    elif result == "done" and ended(folders).get("status") in ("0", "143", "TERM"):
        again = "; systemd starts it again" if state["SubState"] == "auto-restart" else ""
        work.conclude("ended", f"{id} has ended by itself: {reason(state, folders)}{again}", id)
    else:
        if result == "assert":
            raise Unavailable(f"{id} cannot start: {NOT_READY}", hint="systemctl status geard-host; gear setup")
        raise Unavailable(f"{id} does not stay up: {reason(state, folders)}", hint=f"gear log {id}")


def _note_asked(work: Work, id: str, job: str) -> None:
    """For events: what systemd does next was asked for by this request."""
    note(work.host.journal, ASKED, job, gear=id, request=work.id, by=work.asker.name, job=job)


async def _completed(work: Work, id: str) -> Definition | None:
    """The whole definition; where its image cannot be had, systemd is left trying and the Failure raised."""
    definition = await work.on_disk(versions.current, Folders.of(work.host.paths, id))
    try:
        if definition is not None and definition.complete:
            await _fill_volumes(work, definition)  # an install may have been cut before it came to that
            await hooks.pay(work, id)
            return definition
        return await complete(work, id)
    except Failure:
        _note_asked(work, id, "start")
        await work.host.systemd.start(unit_name(id))
        raise


def _up_to_date(work: Work, folders: Folders, definition: Definition) -> bool:
    """Whether what runs is what would be started now."""
    gear = gear_of(folders)
    return versions.running(folders) in ("", definition.version) and all(
        facet.up_to_date(work.host, gear, part_of(facet.part, definition.parts)) for facet in work.facets
    )


async def _watch(work: Work, unit: str) -> dict[str, Any]:
    """Look again until the first moments of a program have passed."""
    for _ in range(7):
        await asyncio.sleep(SETTLE_SECONDS / 7)
        if (await work.host.systemd.state(unit)).active != "active":
            return await _settled(work, unit)
    return await work.host.systemd.properties(unit)


async def _settled(work: Work, unit: str) -> dict[str, Any]:
    """The unit's state once it is not on its way down any more: its stop hook has written down how it ended."""
    state: dict[str, Any] = {}
    for _ in range(100):
        state = await work.host.systemd.properties(unit)
        if state["ActiveState"] != "deactivating":
            return state
        await asyncio.sleep(0.05)
    return state


async def adapt(work: Work, id: str, kind: type[Part], *, changed: bool) -> None:
    """Behind a change of one part of a gear: have it take that on, without a restart where that can be.

    Done again where nothing has changed: whoever changed it may have been killed before this.
    """
    host = work.host
    await hooks.pay(work, id)
    state = await host.systemd.properties(unit_name(id))
    what = "is changed" if changed else "is as it was"
    if state["ActiveState"] in ("inactive", "failed"):
        await work.on_disk(lambda: installing.tidy(host, id, work.facets, stopped=True))
        work.conclude("changed", f"{id} {what}; it does not run now", id)
    elif state["ActiveState"] == "active" and await work.on_disk(installing.adapt, host, id, work.facets, kind):
        work.conclude("changed", f"{id} {what}" + (", without a restart" if changed else ""), id)
    elif await work.on_disk(asleep.read, Folders.of(host.paths, id)) is not None:
        work.conclude("changed", f"{id} {what}; it is idle, that comes when it wakes", id)
    else:
        work.conclude("changed", f"{id} {what}; that comes with its next start: gear restart {id}", id)


async def boot(work: Work, id: str) -> None:
    """A start at boot: systemd's word that it was started is enough, and a pull is the unit's own business."""
    definition = await work.on_disk(versions.current, Folders.of(work.host.paths, id))
    if definition is not None and definition.complete:
        await _fill_volumes(work, definition)
    _note_asked(work, id, "start")
    result = await work.host.systemd.start(unit_name(id), wait=START_SECONDS)
    if result not in ("done", "canceled"):
        raise Unavailable(f"{id} did not start: {result}", hint=f"gear status {id}")


async def stop(work: Work, id: str, *, seconds: float = STOP_SECONDS) -> None:
    host, unit = work.host, unit_name(id)
    folders = Folders.of(host.paths, id)
    if not work.lasting:
        _note_asked(work, id, "stop")
        await host.systemd.stop(unit)
        folders.owed_stop.unlink(missing_ok=True)
        return
    found = await host.systemd.state(unit)
    if found.active in ("inactive", "failed") and not found.job:
        await host.systemd.reset_failed(unit)
        folders.owed_stop.unlink(missing_ok=True)
        work.conclude("stopped", f"{id} is stopped", id)
        return
    work.say("stopping", f"stopping {id}", id)
    _note_asked(work, id, "stop")
    ready = folders.ready.exists()
    try:
        result = await host.systemd.stop(unit, wait=seconds)
    except TimedOut:
        raise TimedOut(
            f"{id} has not stopped within {seconds:g} s", hint="it is still told to; gear status says more"
        ) from None
    folders.owed_stop.unlink(missing_ok=True)
    state = await host.systemd.properties(unit)
    if result == "canceled":
        work.conclude("canceled", f"{id} was told something else meanwhile", id)
        return
    if state["ActiveState"] == "failed":
        await host.systemd.reset_failed(unit)
    await work.on_disk(lambda: installing.tidy(host, id, work.facets, stopped=True))
    why = "it was idle" if ready else reason(state, folders)
    work.conclude("stopped", f"{id} is stopped ({why})", id)


async def clear(work: Work, id: str) -> None:
    """Stop a gear that was hidden, and take away what is left of it."""
    host, unit = work.host, unit_name(id)
    _note_asked(work, id, "stop")
    if not work.lasting:
        await host.systemd.stop(unit)
        return
    if Folders.of(host.paths, id).deleting.exists():
        await host.systemd.stop(unit, wait=STOP_SECONDS)
        await host.systemd.reset_failed(unit)
        await hooks.tell_of_deletion(work, id)
    await work.on_disk(deleting.clear, host, id, work.facets)


def reason(state: dict[str, Any], folders: Folders) -> str:
    """Why a unit is in the state it is in, in a few words."""
    record = ended(folders)
    told = (read_text(folders.state / "failure") or "").strip()
    if told:
        return told
    status = record.get("status", "")
    if record.get("oom") == "yes":
        return "it was killed for using more memory than its limit"
    if record.get("code") in ("killed", "dumped") and status:
        return f"its program was ended by signal {status}"
    if status == "137":
        return "its program was killed (status 137)"
    if status and status != "0":
        return f"its program ended with status {status}"
    if status == "0":
        return "its program ended with status 0"
    return str(state.get("Result", "unknown"))


def ended(folders: Folders) -> dict[str, str]:
    """How the last run ended, as the unit's stop hook wrote it down: result, code, status, oom."""
    text = read_text(folders.state / "ended") or ""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)
