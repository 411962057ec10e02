"""Idling, done: a flag on disk, the waker told what to hold, then the gear stopped or frozen."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import UTC, datetime

from geard.containers import asleep, installing, lifecycle, versions
from geard.containers.asleep import Asleep
from geard.containers.bounding import group_of, use_of
from geard.containers.definition import Definition
from geard.containers.folders import Folders, unit_name
from geard.containers.requests import Accepted
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.events.entries import ASKED, KEEP_READY, note
from geard.failures import Invalid, NotFound, TimedOut, Unavailable, no_such_gear
from geard.host.storage import Changes, read_text
from geard.idling import ready
from geard.idling.requests import FallAsleep, GetWakeTime, IdleContainer, KeepReady, WakeTime
from geard.idling.traffic import PROC, listens_at_all
from geard.idling.waking import parse_woken

WAIT_SECONDS = 30.0
READY_SECONDS = 150.0


@operation
async def idle_container(request: IdleContainer, work: Work) -> Accepted:
    folders = Folders.of(work.host.paths, request.id)
    await work.on_disk(_flag, work, folders, request.depth)
    work.owe(FallAsleep(id=request.id))
    return Accepted(id=request.id, message=f"Container {request.id} falls asleep")


def _flag(work: Work, folders: Folders, depth: str) -> None:
    if not folders.unit.exists():
        raise no_such_gear(folders.id)
    definition = versions.require(folders)
    if definition.complete and not asleep.ports(folders, definition):
        raise Invalid(
            f"nothing could wake {folders.id}: it publishes no TCP port",
            hint=f"gear stop {folders.id} stops it; with --wake-udp datagrams to UDP ports wake it",
        )
    before = asleep.read(folders)
    if before is not None:
        now = Asleep(depth, before.since, before.memory)
    else:
        use = use_of(work.host, folders)
        now = Asleep(depth, datetime.now(UTC).isoformat(timespec="seconds"), use.held if use is not None else 0)
    with Changes() as changes:
        asleep.flag(folders, changes, now)


@operation
async def fall_asleep(request: FallAsleep, work: Work) -> Accepted:
    """Ports are held before the gear goes, so whoever connects meanwhile only waits, and wakes it again."""
    host, id, unit = work.host, request.id, unit_name(request.id)
    folders = Folders.of(host.paths, id)
    found, definition = await work.on_disk(lambda: (asleep.read(folders), versions.current(folders)))
    if found is None or definition is None:
        work.conclude("canceled", f"{id} was told something else meanwhile", id)
        return Accepted(id=id, message="")
    await work.on_disk(asleep.hold, folders, definition)
    if not work.lasting:
        await host.systemd.start(asleep.WAKER)
    elif (result := await host.systemd.start(asleep.WAKER, wait=WAIT_SECONDS)) != "done":
        raise Unavailable(f"{id} goes on: its waker does not run ({result})", hint="systemctl status geard-waker")
    if found.depth == asleep.FREEZE and await _froze(work, folders, definition):
        note(host.journal, "idled", "it is frozen", gear=id, request=work.id, by=work.asker.name)
        work.conclude("idle", f"{id} is idle: it is frozen", id)
        return Accepted(id=id, message="")
    if await work.on_disk(asleep.is_ready, folders):
        work.conclude("idle", f"{id} is idle: it is stopped", id)
        return Accepted(id=id, message="")
    await work.on_disk(asleep.thaw, folders)
    note(host.journal, ASKED, "stop", gear=id, request=work.id, by=work.asker.name, job="stop")
    note(host.journal, "idled", "it stops", gear=id, request=work.id, by=work.asker.name)
    if not work.lasting:
        await host.systemd.stop(unit)
        return Accepted(id=id, message="")
    await host.systemd.stop(unit, wait=lifecycle.STOP_SECONDS)
    if not await _stays_idle(work, folders):
        work.conclude("canceled", f"{id} was told something else meanwhile", id)
        return Accepted(id=id, message="")
    await host.systemd.reset_failed(unit)
    await work.on_disk(lambda: installing.tidy(host, id, work.facets, stopped=True))
    await _make_ready(work, folders, definition)
    work.conclude("idle", f"{id} is idle: it is stopped", id)
    return Accepted(id=id, message="")


@operation
async def keep_ready(request: KeepReady, work: Work) -> Accepted:
    host, id, unit = work.host, request.id, unit_name(request.id)
    folders = Folders.of(host.paths, id)
    found, definition = await work.on_disk(lambda: (asleep.read(folders), versions.current(folders)))
    if found is None or definition is None or await work.on_disk(asleep.is_ready, folders):
        return Accepted(id=id, message="")
    if (await host.systemd.state(unit)).active not in ("inactive", "failed"):
        if not folders.ready.exists():
            return Accepted(id=id, message="")  # somebody has systemd run it, idle as it is
        await host.systemd.stop(unit, wait=lifecycle.STOP_SECONDS)
    if await _stays_idle(work, folders):
        await _make_ready(work, folders, definition)
    return Accepted(id=id, message="")


async def _stays_idle(work: Work, folders: Folders) -> bool:
    """After a stop: whether nobody has woken it, or told it something else, at that very moment."""
    if await work.on_disk(asleep.read, folders) is not None:
        return True
    if folders.wanted.is_symlink():  # that start may have come before this stop
        await work.host.systemd.start(unit_name(folders.id))
    return False


async def _make_ready(work: Work, folders: Folders, definition: Definition) -> None:
    """Have the container of one that is stopped made, if that is to be; its wake does it else."""
    await work.on_disk(_forget_run, folders)
    if not await work.on_disk(ready.may_be_kept, work.host, folders, definition):
        return
    reads = await work.on_disk(ready.reads, work.host, folders, definition, work.facets)
    if await work.on_disk(asleep.keep_ready, folders, reads):
        note(work.host.journal, ASKED, gear=folders.id, request=work.id, by=work.asker.name, job=KEEP_READY)
        with suppress(TimedOut):
            await work.host.systemd.start(unit_name(folders.id), wait=READY_SECONDS)


def _forget_run(folders: Folders) -> None:
    """Where nothing is left of the last run, the step before the engine is the quick one (prepare.sh)."""
    with asleep.locked(folders):
        if folders.idle.exists():
            shutil.rmtree(folders.state, ignore_errors=True)


async def _froze(work: Work, folders: Folders, definition: Definition) -> bool:
    """Whether it stands still now. One that does not run cannot; its first connection starts it."""
    if folders.ready.exists() or (await work.host.systemd.state(unit_name(folders.id))).active != "active":
        return False
    return await work.on_disk(_freeze, work, folders, definition)


def _freeze(work: Work, folders: Folders, definition: Definition) -> bool:
    group = group_of(work.host, folders)
    if group is None:
        return False
    switch, on, off = group.freezer()
    if not switch.exists():
        raise Unavailable(
            f"{folders.id} cannot be frozen: the kernel has no freezer here", hint="gear idle --depth stop"
        )
    if asleep.freeze(folders, switch, on, off):
        inside = {(pair.protocol, pair.internal) for pair in asleep.ports(folders, definition)}
        asleep.hold(folders, definition, by_waker=listens_at_all(PROC, folders.state, inside))
        group.give_back(folders.idle.exists)
    return True


@operation
async def get_wake_time(request: GetWakeTime, work: Work) -> WakeTime:
    return await work.on_disk(_last_wake, Folders.of(work.host.paths, request.id))


def _last_wake(folders: Folders) -> WakeTime:
    if not folders.unit.exists():
        raise no_such_gear(folders.id)
    found = parse_woken(folders.id, read_text(folders.state / "woken") or "")
    if found is None:
        raise NotFound(
            f"no connection has woken {folders.id} since it was last started",
            hint=f"gear idle {folders.id}, then connect to one of its ports",
        )
    return found
