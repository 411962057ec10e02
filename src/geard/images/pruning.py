"""Which images may go: nothing has needed them for some days, and the admin keeps no name of theirs.

Since when an image has been unused is not to be had from any engine. It is noted (`images-unused`) whenever
somebody looks: the agent every hour, and each prune. So the first look after years begins to count anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import cast

from geard.failures import Unavailable
from geard.host import Host
from geard.host.engine import Engine, StoredImage
from geard.host.paths import Paths
from geard.host.storage import Changes, read_text
from geard.images.requests import PrunedImages, RemovedImage
from geard.images.settings import ImageSettings, RegistrySettings
from geard.images.uses import Uses, needs, uses_of

Since = Mapping[str, str]
"""image id -> RFC 3339"""


@dataclass(frozen=True)
class Plan:
    go: tuple[StoredImage, ...]
    waiting: tuple[StoredImage, ...]


def plan_prune(
    images: Sequence[StoredImage],
    uses: Mapping[str, Uses],
    since: Since,
    now: datetime,
    *,
    days: int,
    keep: Sequence[str] = (),
) -> Plan:
    """Pure. `since` is as `noted_anew` has it: every image in it is unused."""
    go: list[StoredImage] = []
    waiting: list[StoredImage] = []
    for image in images:
        if uses[image.id].any or any(fnmatchcase(name, each) for name in image.names for each in keep):
            continue
        unused = datetime.fromisoformat(since[image.id]) if image.id in since else now
        (go if now - unused >= timedelta(days=days) else waiting).append(image)
    return Plan(tuple(go), tuple(waiting))


def noted_anew(uses: Mapping[str, Uses], before: Since, now: datetime) -> dict[str, str]:
    """Which images are unused, and since when as far as was seen. Pure. A time that is yet to come is not
    believed: the clock was put back.
    """
    stamp = now.isoformat(timespec="seconds")
    return {id: min(before.get(id, stamp), stamp) for id, each in uses.items() if not each.any}


async def look(host: Host, engine: Engine) -> tuple[Sequence[StoredImage], dict[str, Uses]]:
    """The images, and what uses each."""
    # Containers and definitions after the images: what begins to use one meanwhile is seen.
    images = await engine.images()
    containers = await engine.containers_of_images()
    needed = await asyncio.to_thread(needs, host.paths)
    registry = host.settings.section(RegistrySettings).default
    return images, uses_of(images, needed, engine.name, containers, registry)


def unused_since(paths: Paths, engine: str) -> dict[str, str]:
    """As noted last; empty where that is not to be read."""
    with suppress(ValueError, AttributeError, TypeError):
        found = cast("dict[str, dict[str, str]]", json.loads(read_text(paths.state / "images-unused") or "{}"))
        times = {id: str(when) for id, when in found.get(engine, {}).items()}
        return {id: when for id, when in times.items() if datetime.fromisoformat(when).tzinfo}
    return {}


def note_unused(paths: Paths, engine: str, since: Since, engines: Sequence[str]) -> None:
    found = {each: unused_since(paths, each) for each in engines} | {engine: dict(since)}
    with Changes() as changes:
        changes.folder(paths.state)
        changes.write(paths.state / "images-unused", json.dumps(found), 0o600)


async def prune(host: Host, engine: Engine, *, days: int | None, dry_run: bool) -> PrunedImages:
    """Remove what may go; nothing is removed by force, so what the engine itself sees used stays."""
    settings, now = host.settings.section(ImageSettings), datetime.now(UTC)
    images, uses = await look(host, engine)
    before = await asyncio.to_thread(unused_since, host.paths, engine.name)
    since = noted_anew(uses, before, now)
    await asyncio.to_thread(note_unused, host.paths, engine.name, since, tuple(host.engines))
    days = settings.keep_days if days is None else days
    plan = plan_prune(images, uses, since, now, days=days, keep=settings.keep)
    removed: list[RemovedImage] = []
    kept: list[str] = []
    for image in plan.go:
        if not dry_run and (why := await _removed(host, engine, image)):
            kept.append(f"{' '.join(image.names) or image.id[:12]}: {why}")
        else:
            removed.append(RemovedImage(id=image.id, names=image.names, size=image.size))
    return PrunedImages(dry_run=dry_run, removed=tuple(removed), waiting=len(plan.waiting), kept=tuple(kept))


async def _removed(host: Host, engine: Engine, image: StoredImage) -> str:
    """Why not; empty where it is gone. Looked at once more: a gear may have been installed meanwhile."""
    needed = await asyncio.to_thread(needs, host.paths)
    registry = host.settings.section(RegistrySettings).default
    if uses_of([image], needed, engine.name, {}, registry)[image.id].any:
        return "it is used by now"
    try:
        await engine.remove_image(image.names or (image.id,))
    except Unavailable as failure:
        return failure.message
    return ""
