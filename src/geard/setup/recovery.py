"""`gear setup --recover`: the gears of an attached disk, or of a machine that lost its /etc, run again."""

from __future__ import annotations

import asyncio
from typing import Any

from geard.containers import deleting, lifecycle, listing, recovering
from geard.containers.folders import Folders, unit_name
from geard.containers.recovering import Bridges, Found
from geard.dispatch.work import Work
from geard.failures import Failure, TimedOut
from geard.setup.requests import RecoveredGear

STARTS_SECONDS = 180.0
"""how long the report waits for the gears to have been tried; they are started all the same"""


async def plan(work: Work, bridges: Bridges) -> list[Found]:
    """What recovery would do. Changes nothing."""
    host = work.host
    units = await host.systemd.units("ctr-*.service")

    def look() -> list[Found]:
        running = {name for name, unit in units.items() if unit.active not in ("inactive", "failed")}
        return [
            recovering.look(host, bridges, id, running=unit_name(id) in running)
            for id in listing.installed(host.paths)
        ]

    return await work.on_disk(look)


async def recover(work: Work, bridges: Bridges) -> tuple[RecoveredGear, ...]:
    """Take over every gear and start those that are to run; what runs already is left alone."""
    host = work.host
    for id in await work.on_disk(lambda: list(deleting.left_over(host))):
        await lifecycle.clear(work, id)
    found = await plan(work, bridges)
    troubles: dict[str, list[str]] = {gear.id: [] for gear in found}
    for gear in found:
        work.say("recovering", f"taking over {gear.id}", gear.id)
        try:
            await work.on_disk(recovering.take_over, host, bridges, gear.id, work.facets)
        except Failure as failure:
            troubles[gear.id].append(failure.message)
    await work.on_disk(recovering.forget_the_gone, host)
    await host.systemd.reload()
    # Both are oneshots that stay active: what they did at the boot was done without this disk.
    for unit in ("geard-host.service", "geard-boot.service"):
        try:
            await host.systemd.restart(unit, wait=STARTS_SECONDS)
        except TimedOut:
            work.say("starting", "some gears are still on their way; gear list shows them")
        except Failure as failure:
            for known in troubles.values():
                known.append(failure.message)
    return tuple([await _outcome(work, gear, troubles[gear.id]) for gear in found])


async def _outcome(work: Work, gear: Found, met: list[str]) -> RecoveredGear:
    """What came of it, once systemd has tried."""
    told = planned(gear)
    if not gear.wanted or gear.definition is None:
        return told
    state = await _settled(work, gear.id)
    if state["ActiveState"] == "active":
        # What was feared has not come true.
        return RecoveredGear(id=gear.id, state="runs", changed=told.changed)
    troubles = (*told.troubles, *met)
    if _on_its_way(state):
        return RecoveredGear(id=gear.id, state="starts", changed=told.changed, troubles=troubles)
    why = lifecycle.reason(state, Folders.of(work.host.paths, gear.id))
    troubles = (*troubles, f"{why}: gear status {gear.id} says more")
    return RecoveredGear(id=gear.id, state="does not run", changed=told.changed, troubles=troubles)


async def _settled(work: Work, id: str) -> dict[str, Any]:
    """The unit's state, once it is not between two; where that lasts (a pull), as it is after a while."""
    state: dict[str, Any] = {}
    for _ in range(50):
        state = await work.host.systemd.properties(unit_name(id))
        if not _on_its_way(state):
            break
        await asyncio.sleep(0.1)
    return state


def _on_its_way(state: dict[str, Any]) -> bool:
    # auto-restart, and auto-restart-queued since systemd 254: it has failed, and waits for its next try
    waits = str(state["SubState"]).startswith("auto-restart")
    return state["ActiveState"] in ("activating", "deactivating") and not waits


def planned(gear: Found) -> RecoveredGear:
    """What a dry run says of it."""
    return RecoveredGear(
        id=gear.id,
        state="runs" if gear.running else "starts" if gear.wanted else "stays stopped",
        changed=gear.changed,
        troubles=gear.troubles,
    )
