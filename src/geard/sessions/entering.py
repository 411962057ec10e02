"""Whether somebody may enter a gear, and whether it can be entered."""

from __future__ import annotations

from geard.containers import asleep, lifecycle, versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders, unit_name
from geard.containers.settings import Allowances
from geard.containers.updating import wish_of
from geard.containers.wishes import check_rights
from geard.dispatch.work import Work
from geard.failures import Denied, PreconditionFailed
from geard.host import Host


async def check_may_enter(folders: Folders, work: Work) -> Definition:
    """The definition of the gear, which runs. Raises NotFound, Denied, PreconditionFailed."""
    definition = await work.on_disk(versions.require, folders)
    if not work.asker.may("admin"):
        await work.on_disk(_check_rights, folders, definition, work.host)
    await _check_running(folders, work)
    return definition


def _check_rights(folders: Folders, now: Definition, host: Host) -> None:
    """Who is in a gear has what it has: of the host no more than they might have had it given. Raises Denied."""
    running, allowed = versions.running(folders), host.settings.section(Allowances)
    known = {each.version: each for each in (*versions.recorded(folders), now)}
    for version in {now.version, running or now.version}:
        if version not in known:
            raise Denied(f"{now.id} runs a version that is not kept any more: to enter it takes the scope admin")
        engine = host.engine_named(known[version].engine)
        check_rights(wish_of(known[version]), allowed)
        if not (engine.maps_users or engine is host.engine or allowed.simple):
            raise Denied(f"{now.id} shares the host's users on {engine.name}: to enter it takes the scope admin")


async def _check_running(folders: Folders, work: Work) -> None:
    id = folders.id
    state = await work.host.systemd.properties(unit_name(id))
    if await work.on_disk(asleep.read, folders) is not None:
        raise PreconditionFailed(
            f"{id} is idle", hint=f"gear start {id}; a connection to one of its ports wakes it"
        )
    match state["ActiveState"]:
        case "active":
            return
        case "activating" if state["SubState"] != "auto-restart":
            raise PreconditionFailed(f"{id} is still starting", hint=f"gear status {id} tells how far it is")
        case "failed" | "activating":
            why = await work.on_disk(lifecycle.reason, state, folders)
            raise PreconditionFailed(f"{id} is not running: {why}", hint=f"gear log {id}")
        case _:
            raise PreconditionFailed(f"{id} is not running", hint=f"gear start {id}")
