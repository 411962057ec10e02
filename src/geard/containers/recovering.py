"""Gears whose disk has come to another machine, or whose machine has lost its /etc: known to systemd again, with
addresses of this machine's network, and what of them cannot be had here.

All that a gear is stands on the disk (docs/DISK.md), that it is to run too. What was the machine's: the links by
which systemd knows the units, the bridge, and perhaps images, folders that gears mount, other programs' ports.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from geard.containers import slots, versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.units import gear_of
from geard.facet import AnyFacet
from geard.failures import AlreadyExists, Invalid
from geard.host import Host
from geard.host.storage import Changes, locked
from geard.ports.listening import in_use
from geard.ports.requests import PortPair, PublishedPorts
from geard.ports.reservations import owner, reserve
from geard.words import part_of

Bridges = Mapping[str, slots.Bridge]
"""the networks of this machine, by their engine"""


@dataclass(frozen=True)
class Found:
    """One gear on the disk, as this machine sees it."""

    id: str
    wanted: bool
    running: bool
    definition: Definition | None
    changed: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


def look(host: Host, bridges: Bridges, id: str, *, running: bool) -> Found:
    """What is to be changed for it, and what will not work here. Changes nothing."""
    folders = Folders.of(host.paths, id)
    wanted = folders.wanted.is_symlink()
    try:
        definition = versions.current(folders)
    except Invalid:
        definition = None
    if definition is None:
        trouble = f"its definition {folders.run} cannot be read: install it again"
        return Found(id, wanted, running, None, troubles=(trouble,))
    changed: list[str] = []
    if not folders.known.exists():
        changed.append("made known to systemd")
    if (moved := _moved(definition, bridges)) != definition:
        changed.append(f"address {moved.ipv4} in place of {definition.ipv4}")
    changed += [
        f"port {pair.external}/{pair.protocol} reserved again"
        for pair in _published(definition)
        if owner(host.paths, pair.external, pair.protocol) is None
    ]
    troubles = tuple(_troubles(host, folders, definition, running))
    return Found(id, wanted, running, definition, tuple(changed), troubles)


def _troubles(host: Host, folders: Folders, definition: Definition, running: bool) -> Iterator[str]:
    try:
        host.engine_named(definition.engine)
    except Invalid as failure:
        yield failure.message
    for pair in _published(definition):
        port = f"{pair.external}/{pair.protocol}"
        holder = owner(host.paths, pair.external, pair.protocol)
        if holder not in (None, folders.unit):
            yield f"port {port} belongs to {holder}: gear install with -p gives it another"
        elif not running and in_use(pair.external, pair.protocol, pair.address):
            yield f"port {port} is in use by another program of this machine: end that, or gear install with -p"
    for mount in definition.volume_config.volume_mounts:
        if not os.path.exists(mount.path):
            yield f"{mount.path}, which it mounts, is not on this machine"


def take_over(host: Host, bridges: Bridges, id: str, facets: Sequence[AnyFacet]) -> None:
    """Make known to systemd, reserve its ports, give every version the address its slot has here."""
    folders = Folders.of(host.paths, id)
    with locked(folders.versions), Changes() as changes:
        versions.mend(folders, changes)
        now = versions.current(folders)
        if now is None:
            return
        moved = _moved(now, bridges)
        if moved != now:
            versions.write(folders, changes, moved, facets, host.engine_named(now.engine))
        for earlier in versions.recorded(folders):
            moved = _moved(earlier, bridges)
            if moved != earlier:
                versions.record(folders, changes, moved, facets, host.engine_named(earlier.engine))
        for pair in _published(now):
            try:
                reserve(host.paths, changes, pair.external, pair.protocol, gear_of(folders).unit)
            except AlreadyExists:
                continue  # another gear's: `look` has told
        changes.point(folders.known, folders.unit)


def forget_the_gone(host: Host) -> list[str]:
    """Links in systemd's folder to gears that this disk does not have; their names."""
    units = str(host.paths.base / "units") + "/"
    gone: list[str] = []
    with Changes() as changes:
        for link in [*host.paths.systemd.glob("ctr-*.service")]:
            if link.is_symlink() and os.readlink(link).startswith(units) and not link.exists():
                changes.remove(link)
                gone.append(link.name)
    return gone


def _moved(definition: Definition, bridges: Bridges) -> Definition:
    if definition.engine not in bridges:
        return definition
    ipv4, ipv6, mac = slots.addresses(bridges[definition.engine], definition.slot)
    return msgspec.structs.replace(definition, ipv4=ipv4, ipv6=ipv6, mac=mac)


def _published(definition: Definition) -> tuple[PortPair, ...]:
    part = part_of(PublishedPorts, definition.parts)
    return part.value if part is not None else ()
