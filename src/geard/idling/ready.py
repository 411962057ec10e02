"""Idle gears whose container is kept made, so that their wake has only the program begin: which, and from what."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from geard.containers import asleep, listing, versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.units import gear_of
from geard.facet import AnyFacet
from geard.host import Host
from geard.host.storage import read_text
from geard.idling.requests import IdlePart
from geard.idling.settings import IdlingSettings
from geard.words import part_of

STEP = "/usr/lib/geard/gear-run"
"""in the unit of a gear that can be kept ready: older ones run podman itself"""


def may_be_kept(host: Host, folders: Folders, definition: Definition) -> bool:
    return len(kept(host)) < host.settings.section(IdlingSettings).ready and _can_be_kept(
        host, folders, definition
    )


def kept(host: Host) -> list[Path]:
    return [*host.paths.run.glob("gears/*/ready")]


def _can_be_kept(host: Host, folders: Folders, definition: Definition) -> bool:
    """Not where its start is over only when its program says so: that is systemd's to see, from its beginning."""
    part = part_of(IdlePart, definition.parts)
    return (
        definition.complete
        and host.engine_named(definition.engine).keeps_ready
        and (part is None or part.value.wake_when != "ready")
        and STEP in (read_text(folders.unit) or "")
    )


def reads(host: Host, folders: Folders, definition: Definition, facets: Sequence[AnyFacet]) -> list[Path]:
    """Files that its container is made from, beside its definition."""
    gear = gear_of(folders)
    return [
        path for facet in facets for path in facet.read_at_start(host, gear, part_of(facet.part, definition.parts))
    ]


def wanting(host: Host, but: Collection[str]) -> list[str]:
    """Idle gears that have no container kept and could, or one made from what has changed since; a few small files
    each. Blocks.
    """
    found: list[str] = []
    room = host.settings.section(IdlingSettings).ready - len(kept(host))
    for id in listing.idle(host.paths):
        folders = Folders(host.paths, id)
        if id in but or asleep.is_ready(folders):
            continue
        if folders.ready.exists():
            found.append(id)
        elif len(found) < room and _is_stopped(folders):
            definition = versions.current(folders)
            if definition is not None and _can_be_kept(host, folders, definition):
                found.append(id)
    return found


def _is_stopped(folders: Folders) -> bool:
    found = asleep.read(folders)
    return found is not None and found.depth == asleep.STOP
