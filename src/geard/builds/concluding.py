"""The end of a build, however it came: what it held is put away, and how it ended is written down.

Its unit runs this when its program has ended (`ExecStopPost=`), killed or not. Done again, it is harmless.
"""

from __future__ import annotations

import msgspec

from geard.builds import records
from geard.builds.records import Folders
from geard.builds.running import clear
from geard.containers import slots
from geard.host import Host
from geard.host.storage import Changes


async def conclude(host: Host, id: str) -> None:
    folders = Folders.of(host.paths, id)
    slice = records.slice_name(id)
    # Twice: who is PID 1 in a container does not heed the TERM by which systemd stops a slice, and of a killed
    # `podman build` nothing can be removed while it runs.
    await clear(id, records.container_name(id), slice)
    await host.systemd.stop(slice, wait=30)
    await clear(id, records.container_name(id), slice)
    with Changes() as changes:
        changes.remove_tree(folders.work)
        changes.remove(folders.source)
        slot = _slot(folders)
        if slot is not None:
            slots.release(host.paths, changes, slot, folders.base)
            changes.remove(folders.slot)
    build = records.read_build(folders)
    if build is not None and build.state not in records.ENDED:
        cancelled = folders.cancelled.exists()
        reason = "" if cancelled else "its program was killed"
        ended = records.now()
        last = tuple(msgspec.structs.replace(s, ended=s.ended or ended) for s in build.steps)
        records.write_build(
            folders,
            msgspec.structs.replace(
                build,
                state="cancelled" if cancelled else "failed",
                reason=reason,
                ended=ended,
                seconds=records.seconds_between(build.began or ended, ended),
                steps=last,
            ),
        )


def _slot(folders: Folders) -> int | None:
    try:
        return int(folders.slot.read_text())
    except (FileNotFoundError, ValueError):
        return slots.kept(folders.paths, folders.base)
