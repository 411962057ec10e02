"""For how long gears are idle, and what memory that leaves to others: the flags, and the groups of frozen ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from geard.containers import asleep, listing
from geard.containers.bounding import use_of
from geard.containers.folders import Folders
from geard.host import Host
from geard.measures import Measure, single


async def measure(host: Host) -> Sequence[Measure]:
    seconds, saved = await asyncio.to_thread(_look, host, datetime.now(UTC))
    return [
        single("geard_idle_seconds", "For how long the gears that are idle now have been so, together.", seconds),
        single("geard_idle_memory_saved_bytes", "Memory that they held before, and do not now.", saved),
    ]


def _look(host: Host, now: datetime) -> tuple[float, int]:
    seconds, saved = 0.0, 0
    for id in listing.idle(host.paths):
        folders = Folders(host.paths, id)
        found = asleep.read(folders)
        if found is None:
            continue
        with suppress(ValueError, TypeError):  # somebody else wrote it
            seconds += max(0.0, (now - datetime.fromisoformat(found.since)).total_seconds())
        use = use_of(host, folders) if found.depth == asleep.FREEZE else None
        saved += max(0, found.memory - (use.held if use is not None else 0))
    return seconds, saved
