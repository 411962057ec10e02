"""How many images are being fetched."""

from __future__ import annotations

from collections.abc import Sequence

from geard.host import Host
from geard.measures import Measure, single


async def measure(host: Host) -> Sequence[Measure]:
    units = await host.systemd.units("geard-pull@*.service")
    running = sum(unit.active == "activating" for unit in units.values())
    return [single("geard_pulls_running", "Images that are being fetched now.", running)]
