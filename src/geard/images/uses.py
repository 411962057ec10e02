"""What needs which image: the definitions in force, the versions that are kept, the engine's containers.

Definitions are read as they stand on disk, of every gear and every version (docs/DISK.md): what is written there
is needed, whether it runs or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from geard.failures import Invalid
from geard.host.engine import StoredImage
from geard.host.paths import Paths
from geard.images.names import complete_name

MARK = "# geard: "


@dataclass(frozen=True)
class Need:
    """One version of a gear."""

    gear: str
    version: str
    engine: str
    image: str
    """as it was asked for"""
    image_id: str
    """empty until it is here"""
    in_force: bool


@dataclass
class Uses:
    """Of one image."""

    gears: list[str] = field(default_factory=list[str])
    versions: list[str] = field(default_factory=list[str])
    containers: list[str] = field(default_factory=list[str])

    @property
    def any(self) -> bool:
        return bool(self.gears or self.versions or self.containers)


def needs(paths: Paths) -> list[Need]:
    """Of every version on disk. Reads every definition."""
    found: list[Need] = []
    units = paths.base / "units"
    in_force: dict[str, str] = {}
    for path in sorted(units.glob("*/ctr-*.run")):
        if (facts := _facts(path)) is not None:
            in_force[str(facts.get("Id"))] = str(facts.get("Version"))
            found.append(_need(facts, in_force=True))
    every = filter(None, map(_facts, sorted(units.glob("*/*/*.run"))))
    earlier = (facts for facts in every if in_force.get(str(facts.get("Id"))) != facts.get("Version"))
    return [*found, *(_need(facts, in_force=False) for facts in earlier)]


def _facts(path: Path) -> dict[str, Any] | None:
    """None for a file that is gone by now, or no definition."""
    with suppress(OSError, ValueError), path.open(encoding="utf-8") as file:
        first = file.readline()
        if first.startswith(MARK):
            return cast("dict[str, Any]", json.loads(first.removeprefix(MARK)))
    return None


def _need(facts: Mapping[str, Any], *, in_force: bool) -> Need:
    return Need(
        gear=str(facts.get("Id", "")),
        version=str(facts.get("Version", "")),
        engine=str(facts.get("Engine", "podman")),
        image=str(facts.get("Image", "")),
        image_id=str(facts.get("ImageId", "")),
        in_force=in_force,
    )


def uses_of(
    images: Sequence[StoredImage],
    needed: Iterable[Need],
    engine: str,
    containers: Mapping[str, Sequence[str]],
    registry: str,
) -> dict[str, Uses]:
    """image id -> what uses it. `containers`: image id -> containers of the engine's. Pure.

    A version whose image is not settled yet needs whatever bears the name it was asked by.
    """
    uses = {image.id: Uses() for image in images}
    by_name = {name: image.id for image in images for name in image.names}
    for need in needed:
        if need.engine != engine:
            continue
        if need.image_id:
            ids = [need.image_id]
        else:
            ids = [by_name[name] for name in _names(need.image, registry) if name in by_name]
        for id in ids:
            if (found := uses.get(id)) is not None:
                if need.in_force:
                    found.gears.append(need.gear)
                else:
                    found.versions.append(f"{need.gear}@{need.version}")
    for id, names in containers.items():
        if (found := uses.get(id)) is not None:
            known = {f"ctr-{gear}" for gear in found.gears}
            found.containers += [name for name in names if name not in known]
    return uses


def _names(image: str, registry: str) -> set[str]:
    """What the store may know it by."""
    names = {image, f"{image}:latest", f"localhost/{image}", f"localhost/{image}:latest"}
    with suppress(Invalid):
        names.add(complete_name(image, registry))
    return names
