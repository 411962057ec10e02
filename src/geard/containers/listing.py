"""Which gears there are: read from the folders, never asked of systemd (listing unit files takes it seconds)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from geard.containers.folders import Folders, active_wants, unit_name
from geard.containers.requests import ListedContainer
from geard.host.paths import Paths
from geard.host.systemd import UnitState
from geard.ports.pairs import parse_metadata
from geard.ports.requests import PortPair

# What a unit file says, by its path, as long as the file is the same: a list of 1,000 reads few of them again.
_read: dict[str, tuple[tuple[int, int], str, tuple[PortPair, ...]]] = {}


def installed(paths: Paths) -> list[str]:
    """The ids of all gears, sorted."""
    return sorted(_units(paths))


def wanted(paths: Paths) -> list[str]:
    """The ids of the gears that are to run, sorted."""
    links = _names(active_wants(paths))
    asleep = set(idle(paths))
    return sorted(id for id in _units(paths) if unit_name(id) in links and id not in asleep)


def idle(paths: Paths) -> list[str]:
    """The ids of the gears that are idle, sorted."""
    there = _units(paths)
    return sorted(id for id in _units(paths, ".idle") if id in there)


def not_known(paths: Paths) -> list[str]:
    """The ids of gears whose link is missing by which systemd knows them."""
    links = _names(paths.systemd)
    return sorted(id for id in _units(paths) if unit_name(id) not in links)


def combine(paths: Paths, units: Mapping[str, UnitState], *, all: bool) -> tuple[ListedContainer, ...]:
    """The installed gears with the states systemd gives them; without `all`, only those it has loaded."""
    links = _names(active_wants(paths))
    asleep = _units(paths, ".idle")
    rows: list[ListedContainer] = []
    for id, path in sorted(_units(paths).items()):
        state = units.get(unit_name(id))
        shown = state is not None and state.load not in ("not-found", "masked")
        if not shown and not all and id not in asleep:
            continue
        image, ports = _facts(path)
        active = state.active if state is not None else "inactive"
        sub = state.sub if state is not None else "dead"
        if id in asleep:
            active, sub = as_idle(Folders(paths, id), active, sub)
        rows.append(
            ListedContainer(
                id=id,
                active_state=active,
                sub_state=sub,
                load_state=state.load if state is not None else "loaded",
                job_type=state.job if state is not None else "",
                image=image,
                ports=ports,
                started=unit_name(id) in links,
            )
        )
    return tuple(rows)


def as_idle(folders: Folders, active: str, sub: str) -> tuple[str, str]:
    """What is said of the states of a gear that is idle, by what systemd says: on its way there, that."""
    if active in ("inactive", "failed") or folders.ready.exists():
        return "idle", "stopped"
    return ("idle", "frozen") if active == "active" else (active, sub)


def _units(paths: Paths, kind: str = ".service") -> dict[str, str]:
    """id -> unit file, or another of its files"""
    found: dict[str, str] = {}
    with suppress(FileNotFoundError), os.scandir(paths.base / "units") as buckets:
        for bucket in buckets:
            if not bucket.is_dir(follow_symlinks=False):
                continue
            with suppress(FileNotFoundError), os.scandir(bucket.path) as entries:  # its last gear may go just now
                for entry in entries:
                    if entry.name.startswith("ctr-") and entry.name.endswith(kind):
                        found[entry.name[4 : -len(kind)]] = entry.path
    return found


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def _facts(path: str) -> tuple[str, tuple[PortPair, ...]]:
    try:
        status = os.stat(path)
        signature = (status.st_ino, status.st_mtime_ns)
        known = _read.get(path)
        if known is not None and known[0] == signature:
            return known[1], known[2]
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "", ()
    image = next((line[17:] for line in text.splitlines() if line.startswith("X-ContainerImage=")), "")
    ports = parse_metadata(text)
    if len(_read) > 20_000:
        _read.clear()
    _read[path] = (signature, image, ports)
    return image, ports
