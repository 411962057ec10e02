"""How many gears there are, in which state, and how runs ended: one question to systemd, folders otherwise."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from geard.containers import listing
from geard.containers.folders import Folders, unit_name
from geard.host import Host
from geard.host.paths import Paths
from geard.host.systemd import UnitState
from geard.measures import Measure, single

STATES = ("active", "activating", "deactivating", "failed", "idle", "inactive", "reloading")


async def measure(host: Host) -> Sequence[Measure]:
    units = await host.systemd.units("ctr-*.service")
    installed, wanted, idle, ends = await asyncio.to_thread(_look, host.paths)
    states = Counter(_state(host.paths, units, id, idle) for id in installed)
    about = "Runs of gears that ended since the boot, by systemd's word for how; who is to run starts again."
    return [
        Measure(
            "geard_gears", "Installed gears by systemd's state, or idle.", {s: states[s] for s in STATES}, "state"
        ),
        single("geard_gears_wanted", "Gears that are to run, now and after a boot.", len(wanted)),
        Measure("geard_gear_ends_total", about, ends, "result", "counter"),
    ]


def _state(paths: Paths, units: Mapping[str, UnitState], id: str, idle: set[str]) -> str:
    found = units.get(unit_name(id))
    active = found.active if found is not None else "inactive"
    return listing.as_idle(Folders(paths, id), active, "")[0] if id in idle else active


def _look(paths: Paths) -> tuple[list[str], list[str], set[str], dict[str, float]]:
    return listing.installed(paths), listing.wanted(paths), set(listing.idle(paths)), _ends(paths)


def _ends(paths: Paths) -> dict[str, float]:
    """A byte for each, written by gear-record."""
    found: dict[str, float] = {"success": 0}
    with suppress(FileNotFoundError):
        for entry in os.scandir(paths.run / "ends"):
            found[entry.name] = entry.stat().st_size
    return found
