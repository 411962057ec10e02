"""The admin's own programs, run for each gear: "apply rules to the system that are applied each time a new gear
is added" (README). `[hooks]` in /etc/geard/geard.toml names them.

What is owed is on disk from the install's answer until the program has ended well (`hook-owed`), and a gear does
not run before: so it may be run twice, never not at all.
"""

from __future__ import annotations

import json
from typing import Literal

from geard.containers import versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.settings import HookSettings
from geard.dispatch.work import Work
from geard.failures import Failure, Unavailable
from geard.host import Host
from geard.host.process import run
from geard.host.storage import Changes, read_text
from geard.words import builtins_of

SECONDS = 60.0

Occasion = Literal["added", "changed", "deleted"]


def owe(host: Host, folders: Folders, changes: Changes, occasion: Occasion) -> None:
    """Put on record that a program is to be told. One that has not been told of a new gear is told of that."""
    if not _argv(host, occasion) or folders.hook_owed.exists():
        return
    changes.write(folders.hook_owed, occasion, 0o600)


async def pay(work: Work, id: str) -> None:
    """Run what is owed. Raises Unavailable where the program fails: the gear is not to run before."""
    folders = Folders.of(work.host.paths, id)
    occasion = await work.on_disk(read_text, folders.hook_owed)
    if occasion is None:
        return
    definition = await work.on_disk(versions.current, folders)
    if definition is not None and occasion in ("added", "changed"):
        await _tell(work, definition, "added" if occasion == "added" else "changed")

    def paid() -> None:
        with Changes() as changes:
            changes.remove(folders.hook_owed)

    await work.on_disk(paid)


async def tell_of_deletion(work: Work, id: str) -> None:
    """Nothing of the gear runs any more. What the program says is told, and changes nothing."""
    folders = Folders.of(work.host.paths, id)
    if not _argv(work.host, "deleted") or not folders.deleting.exists():
        return
    known = await work.on_disk(versions.recorded, folders)
    if known:
        try:
            await _tell(work, known[0], "deleted")
        except Failure as failure:
            work.say("failed", failure.message, id)


async def _tell(work: Work, definition: Definition, occasion: Occasion) -> None:
    argv = _argv(work.host, occasion)
    if not argv:
        return
    work.say("hook", f"running {argv[0]} for {definition.id}", definition.id)
    gear = json.dumps({"Occasion": occasion, **builtins_of(definition)}).encode()
    try:
        await run(argv, stdin=gear, timeout=SECONDS)
    except Failure as failure:
        raise Unavailable(
            f"the program for gears that are {occasion} failed for {definition.id}: {failure.message}",
            hint=f"[hooks] {occasion} in {work.host.settings.path}; then gear start {definition.id}",
        ) from None


def _argv(host: Host, occasion: Occasion) -> tuple[str, ...]:
    settings = host.settings.section(HookSettings)
    return {"added": settings.added, "changed": settings.changed, "deleted": settings.deleted}[occasion]
