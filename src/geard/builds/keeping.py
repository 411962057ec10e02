"""What is known of builds, beside what systemd says; and what of it is kept no longer."""

from __future__ import annotations

import asyncio
import time

from geard.builds import records, sending
from geard.builds.concluding import conclude
from geard.builds.records import ENDED, Folders
from geard.builds.requests import Build
from geard.builds.settings import BuildSettings
from geard.host import Host
from geard.host.paths import Paths
from geard.host.storage import Changes


async def seen(host: Host, builds: list[Build]) -> list[Build]:
    """With what systemd says; a state that was read before its unit ended is read again."""
    units = await host.systemd.units("build-*.service")
    found: list[Build] = []
    for build in builds:
        folders = Folders(host.paths, build.id)
        again = build if build.state in ENDED else records.read_build(folders) or build
        found.append(records.seen(again, units, begun=folders.begun.exists()))
    return found


async def tidy(host: Host) -> None:
    """Settle what was cut, and forget what is kept no longer."""
    settings = host.settings.section(BuildSettings)

    def read() -> list[Build]:
        found = [records.read_build(Folders(host.paths, id)) for id in records.listed(host.paths)]
        return [build for build in found if build is not None]

    builds = await asyncio.to_thread(read)
    await asyncio.to_thread(sending.tidy, host.paths)
    await asyncio.to_thread(_tidy_caches, host.paths, time.time() - max(1, settings.keep_days) * 86_400)
    for id in records.surplus(builds, settings.keep, settings.keep_days * 86_400, time.time()):
        await asyncio.to_thread(records.remove, Folders(host.paths, id))
    for build in await seen(host, builds):
        cut = build.reason == records.CUT and not build.ended
        # The end of a build may itself be cut short; its slot is given back last.
        left = build.state in ENDED and build.active_state in ("inactive", "failed")
        if cut or (left and Folders(host.paths, build.id).slot.exists()):
            await conclude(host, build.id)


def _tidy_caches(paths: Paths, oldest: float) -> None:
    """Those that no build has used for so long go."""
    with Changes() as changes:
        for folder in records.caches(paths).glob("*"):
            if folder.stat().st_mtime < oldest:
                changes.remove_tree(folder)
