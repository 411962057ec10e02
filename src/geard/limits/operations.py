"""Limits, done."""

from __future__ import annotations

import os
from collections.abc import Sequence

from geard.containers import bounding, hooks, installing, lifecycle, listing, versions
from geard.containers.folders import Folders, engine_name, unit_name
from geard.containers.limits import NAMES, check_limits, check_together, merged, shown
from geard.containers.requests import Accepted, Limits
from geard.containers.slices import SLICES
from geard.containers.units import run_spec
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.events.entries import note
from geard.failures import Invalid
from geard.host import Host
from geard.host.control_groups import Use
from geard.host.disk_quotas import DiskUse
from geard.identifiers import check_id
from geard.limits.requests import (
    GearUsage,
    GetUsage,
    HoldContainer,
    LimitContainer,
    LimitedContainer,
    ListUsage,
    SliceUsage,
    Usage,
    UsageList,
)


@operation
async def limit_container(request: LimitContainer, work: Work) -> LimitedContainer:
    host, id = work.host, check_id(request.id)
    said = Limits(**{field: getattr(request, field) for field in NAMES})
    if said == Limits():
        raise Invalid(f"which limits of {id}?", hint=f"gear limit {id} --memory 1g --cpus 0.5")
    check_limits(said)
    folders = Folders.of(host.paths, id)
    now = await work.on_disk(versions.require, folders)
    wanted = check_together(merged(said, now.limits))
    bounding.check_host(host, host.engine_named(now.engine), said)
    await work.on_disk(bounding.check_use, host, folders, said, wanted)
    await work.on_disk(bounding.check_disk, host, folders, now.slot, said.quota or 0)
    settled = await work.on_disk(installing.relimit, host, id, work.id, work.asker.name, work.facets, said)
    found = settled.definition
    if settled.changed:
        words = ", ".join(f"{name} {text}" for name, text in shown(found.limits).items() if text)
        note(
            host.journal, "limits", words or "none", gear=id, request=work.id, by=work.asker.name,
            version=found.version,
        )  # fmt: skip
    work.owe(HoldContainer(id=id, changed=settled.changed))
    return LimitedContainer(id=id, version=found.version, limits=found.limits, changed=settled.changed)


@operation
async def hold_container(request: HoldContainer, work: Work) -> Accepted:
    """Done again where nothing has changed: whoever changed it may have been killed before this."""
    host, id = work.host, check_id(request.id)
    folders = Folders.of(host.paths, id)
    definition = await work.on_disk(versions.current, folders)
    if definition is None:
        return Accepted(id=id, message="")
    await hooks.pay(work, id)
    await work.on_disk(bounding.hold_disk, host, folders, definition)
    what = "is changed" if request.changed else "is as it was"
    if await work.on_disk(bounding.group_of, host, folders) is not None:
        engine = host.engine_named(lifecycle.running_engine(folders, definition))
        await engine.note_limits(engine_name(id), run_spec(definition, folders, work.facets))
        if await work.on_disk(bounding.hold, host, id, work.facets):
            work.conclude("changed", f"{id} {what}" + (", without a restart" if request.changed else ""), id)
            return Accepted(id=id, message="")
    state = await host.systemd.state(unit_name(id))
    idle = state.active in ("inactive", "failed")
    when = "it does not run now" if idle else "that comes with its next start"
    work.conclude("changed", f"{id} {what}; {when}", id)
    return Accepted(id=id, message="")


@operation
async def get_usage(request: GetUsage, work: Work) -> UsageList:
    folders = Folders.of(work.host.paths, request.id)
    await work.on_disk(versions.require, folders)
    return await work.on_disk(_usage, work.host, [request.id], whole=False)


@operation
async def list_usage(request: ListUsage, work: Work) -> UsageList:
    ids = await work.on_disk(listing.installed, work.host.paths)
    shown = [id for id in ids if work.asker.reaches(id)]
    return await work.on_disk(_usage, work.host, shown, whole=len(shown) == len(ids))


def _usage(host: Host, ids: Sequence[str], *, whole: bool) -> UsageList:
    """`whole`: who asks may know of all gears, and so of their sums."""
    gears: list[GearUsage] = []
    for id in ids:
        folders = Folders.of(host.paths, id)
        use = bounding.use_of(host, folders)
        if use is not None:
            received, sent = host.groups.traffic(bounding.process_of(folders)[0])
            disk, layer = _on_disk(host, folders)
            gears.append(GearUsage(id=id, usage=_words(use, received, sent, disk, layer)))
    return UsageList(
        gears=tuple(gears),
        slices=tuple(_slices(host)) if whole else (),
        cpus=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def _on_disk(host: Host, folders: Folders) -> tuple[DiskUse | None, DiskUse | None]:
    """Of its volumes, and of its layer where an engine was to bound that."""
    definition = versions.current(folders)
    if definition is None:
        return None, None
    layer = bounding.layer_use(host, folders) if definition.limits.quota else None
    return bounding.disk_use(host, folders, definition.slot), layer


def _slices(host: Host) -> list[SliceUsage]:
    found: list[SliceUsage] = []
    for name in SLICES:
        outer = name.partition("-")[0]
        path = f"{outer}.slice" + (f"/{name}.slice" if name != outer else "")
        group = host.groups.of_path(path)
        try:
            if group is not None:
                found.append(SliceUsage(name=name, usage=_words(group.use(), 0, 0)))
        except OSError:  # its last gear has just ended
            continue
    return found


def _words(use: Use, received: int, sent: int, disk: DiskUse | None = None, layer: DiskUse | None = None) -> Usage:
    return Usage(
        memory=use.memory,
        memory_limit=use.bounds.memory,
        swap=use.swap,
        pids=use.pids,
        pids_limit=use.bounds.pids,
        cpu_seconds=use.cpu_seconds,
        cpus_limit=use.bounds.cpus,
        read=use.read,
        written=use.written,
        received=received,
        sent=sent,
        disk=disk.used if disk is not None else 0,
        disk_limit=disk.limit if disk is not None else 0,
        layer=layer.used if layer is not None else 0,
        layer_limit=layer.limit if layer is not None else 0,
        time=use.time,
    )
