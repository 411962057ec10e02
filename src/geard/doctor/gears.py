"""Whether the gears are as they were installed, and run where they are to."""

from __future__ import annotations

import os
from collections.abc import Sequence

from geard.containers import listing, versions
from geard.containers.folders import Folders, unit_name
from geard.doctor.requests import Finding
from geard.failures import Failure
from geard.host import Host

NAMED = 5
OWN_UNITS = ("geard.service", "geard-host.service", "geard-boot.service", "geard.socket", "geard-pull@.service")


async def failed(host: Host) -> Finding:
    units = await host.systemd.units("ctr-*.service")
    down = sorted(name[4:-8] for name, unit in units.items() if unit.active == "failed" and unit.load == "loaded")
    running = sum(unit.active == "active" for unit in units.values())
    if not down:
        return Finding(what="gears", state="ok", detail=f"{running} run, none has failed")
    detail = f"failed: {some(down)}; {running} run"
    return Finding(what="gears", state="broken", detail=detail, remedy=f"gear status {down[0]}")


def units(host: Host) -> list[Finding]:
    """Unit files that are not those which were installed, by whoever's hand."""
    changed, broken = list[str](), list[str]()
    for id in listing.installed(host.paths):
        folders = Folders.of(host.paths, id)
        try:
            definition = versions.current(folders)
            if definition is None:
                broken.append(id)
            elif not os.path.samefile(folders.unit, folders.versions / definition.version):
                changed.append(id)
        except (Failure, OSError):
            broken.append(id)
    found: list[Finding] = []
    if broken:
        costs = "they cannot be started"
        remedy = f"install it anew, or gear rollback {broken[0]}"
        found.append(Finding(what="definitions", state="broken", detail=some(broken), costs=costs, remedy=remedy))
    if changed:
        costs = "the next install or update takes what was changed away"
        where = f"/etc/systemd/system/{unit_name(changed[0])}.d/"
        remedy = f"put lines of your own into {where}, and install the gear anew"
        detail = f"not as installed: {some(changed)}"
        found.append(Finding(what="units", state="advice", detail=detail, costs=costs, remedy=remedy))
    unknown = listing.not_known(host.paths)
    if unknown:
        detail = f"systemd has no link to {some(unknown)}"
        costs, remedy = "they cannot be started, and do not come back after a boot", "gear setup --recover"
        found.append(Finding(what="units", state="broken", detail=detail, costs=costs, remedy=remedy))
    own = [name for name in OWN_UNITS if (host.paths.systemd / name).is_file()]
    if own:
        costs = "an upgrade of geard does not reach them"
        remedy = f"systemctl revert {' '.join(own)}, or a drop-in instead"
        detail = f"replaced in {host.paths.systemd}: {', '.join(own)}"
        found.append(Finding(what="geard's own units", state="advice", detail=detail, costs=costs, remedy=remedy))
    return found or [Finding(what="units", state="ok", detail="as they were installed")]


def some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
