"""What the agent does by itself: pay what an earlier agent owed when it was killed.

Between an answer and systemd's knowing lies a moment. What was promised then is on disk: a deletion under way,
a stop that is owed, a gear that is to run and has not been started since the boot.
"""

from __future__ import annotations

import asyncio
import logging

from geard.containers import deleting, installing, listing, versions
from geard.containers.folders import Folders, unit_name
from geard.containers.requests import CompleteContainer, GoOn
from geard.dispatch.dispatcher import Dispatcher
from geard.failures import Failure
from geard.host import Host
from geard.request import AGENT, Request

log = logging.getLogger(__name__)


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    there = listing.installed(host.paths)  # before anybody new is answered: their gears are theirs to complete
    # What is on record is gone on with there; this is for what has none (a full disk, a power cut).
    found = await dispatcher.resume()
    in_hand = {(request.id, request.what) for request in found if isinstance(request, GoOn)}
    units = await host.systemd.units("ctr-*.service")
    # Each goes by what is on disk when its turn comes: a newer request may have come by then.
    owed: list[Request[object]] = []
    pulls: list[Request[object]] = []
    for id in deleting.left_over(host):
        folders = Folders.of(host.paths, id)
        if folders.deleting.exists() and (id, "delete") not in in_hand:
            owed.append(GoOn(id=id, what="delete"))
        elif not folders.deleting.exists():
            # Debris of a first install that was cut, or one that is being made just now: clear() looks, locked.
            await asyncio.to_thread(deleting.clear, host, id, dispatcher.facets)
    booting = (await host.systemd.properties("geard-boot.service"))["ActiveState"] == "activating"
    wanted = set(listing.wanted(host.paths))
    for id in there:
        await asyncio.to_thread(installing.put_right, host, id, dispatcher.facets)
        folders, unit = Folders.of(host.paths, id), units.get(unit_name(id))
        active = unit is not None and unit.active not in ("inactive", "failed")
        if id not in wanted and active and folders.owed_stop.exists() and (id, "stop") not in in_hand:
            owed.append(GoOn(id=id, what="stop"))
        if in_hand & {(id, "install"), (id, "update"), (id, "start"), (id, "restart")}:
            continue
        if id in wanted and not booting and not active and not (folders.state / "version").exists():
            owed.append(GoOn(id=id, what="start"))
        if folders.owed_update.exists():
            owed.append(GoOn(id=id, what="update", pending=True))
        elif folders.hook_owed.exists():
            owed.append(CompleteContainer(id=id))
        elif id not in wanted and not await asyncio.to_thread(_complete, host, folders):
            pulls.append(CompleteContainer(id=id))
    for request in (*owed, *pulls):
        log.info("completing what was cut short: %s", request)
        try:
            async for _ in dispatcher.perform(request, AGENT).report():
                pass  # to its end: one after the other, the host has other things to do at such a moment
        except Failure as failure:
            log.warning("%s", failure.message)


def _complete(host: Host, folders: Folders) -> bool:
    """Whether its image had come, and its volumes were made, before the agent ended that was to see to it."""
    definition = versions.current(folders)
    return definition is None or (definition.complete and not installing.missing_volumes(host, definition))
