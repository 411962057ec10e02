"""Jobs that have not ended."""

from __future__ import annotations

from collections.abc import Sequence

from geard.host import Host
from geard.measures import Measure, single


async def measure(host: Host) -> Sequence[Measure]:
    units = await host.systemd.units("job-*.service")
    waiting = sum(unit.active == "activating" for unit in units.values())
    running = sum(unit.active == "active" for unit in units.values())
    return [
        single("geard_jobs_running", "Jobs whose program runs now.", running),
        single("geard_jobs_starting", "Jobs that are being started, or wait for their image.", waiting),
    ]
