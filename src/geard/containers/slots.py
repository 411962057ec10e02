"""One number a gear, from which its users, its address and its MAC follow.

    slots/17 -> /var/lib/containers/units/ab/ctr-abcdef.service

Slot n has the host uids and gids 2,000,000 + 65,536 n and the 65,535 behind them, and the n-th address of
geard's bridge. All are recorded in the definition as well, and stay while the gear or its volumes are there.
The range ends below what systemd keeps for itself (1,879,048,192 and up: Users, Groups, UIDs and
GIDs on systemd systems).
"""

from __future__ import annotations

import ipaddress
import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from geard.containers.ids import FIRST_UID as FIRST_UID
from geard.containers.ids import RANGE as RANGE
from geard.containers.ids import SLOTS as SLOTS
from geard.failures import Unavailable
from geard.host.paths import Paths
from geard.host.storage import Changes, read_hint, read_text, write_hint

_NEXT = "next"


@dataclass(frozen=True)
class Bridge:
    """A network of geard's, as `gear setup` chose it for this host."""

    ipv4: ipaddress.IPv4Network
    ipv6: ipaddress.IPv6Network | None


def bridge(paths: Paths, engine: str) -> Bridge:
    """The network of an engine's gears. Raises Unavailable where `gear setup` has not run."""
    found = bridges(read_text(paths.base / "network") or "")
    if engine not in found:
        raise Unavailable("this host has no network for gears yet", hint="gear setup makes it")
    return found[engine]


def read_networks(text: str) -> dict[str, str]:
    """The lines of the file `network`: `ipv4`, `docker-ipv6`, … and what is said of each."""
    return {name: net.strip() for name, _, net in (line.partition(" ") for line in text.splitlines()) if net}


def bridges(text: str) -> dict[str, Bridge]:
    """The networks that the file `network` names, by their engine."""
    said = read_networks(text)
    found: dict[str, Bridge] = {}
    for name, net in said.items():
        if name.endswith("ipv4"):
            ipv6 = said.get(name.replace("ipv4", "ipv6"))
            found[name.removesuffix("ipv4").rstrip("-") or "podman"] = Bridge(
                ipaddress.IPv4Network(net), ipaddress.IPv6Network(ipv6) if ipv6 else None
            )
    return found


def reserve(paths: Paths, changes: Changes, unit: Path, within: range | None = None) -> int:
    """A free slot, now this unit's; the one it has kept with its volumes, if it has. Raises Unavailable."""
    base = paths.base / "slots"
    changes.folder(base)
    within = within or range(SLOTS)
    hint = read_hint(base / _NEXT)
    start = hint if hint in within else within.start
    for number in chain(range(start, within.stop), range(within.start, start)):
        with suppress(FileExistsError):
            changes.symlink(unit, base / str(number))
            write_hint(base / _NEXT, (number + 1) % SLOTS)
            return number
    raise Unavailable(
        f"all {len(within)} slots for gears are taken on this host",
        hint="delete --purge gears that are gone, or widen ids in the settings' [containers]",
    )


def kept(paths: Paths, unit: Path) -> int | None:
    """The slot this unit still has: looked for among all, so only where volumes outlived their gear."""
    with suppress(FileNotFoundError), os.scandir(paths.base / "slots") as entries:
        for entry in entries:
            with suppress(OSError):
                if os.readlink(entry.path) == str(unit):
                    return int(entry.name)
    return None


def release(paths: Paths, changes: Changes, slot: int, unit: Path) -> None:
    link = paths.base / "slots" / str(slot)
    try:
        owner = os.readlink(link)
    except OSError:
        return
    if owner == str(unit):
        changes.remove(link)  # where the disk refuses it, whoever asked is told and the deletion is still owed


def uid_base(slot: int) -> int:
    return FIRST_UID + RANGE * slot


def addresses(bridge: Bridge, slot: int) -> tuple[str, str, str]:
    """IPv4, IPv6 (or empty) and MAC of a slot. The first ten addresses stay free for the host's own use.

    The MACs begin with 02:67:65 (locally administered): by that the host knows a gear's frames and lets none
    pass from one gear to another.
    """
    number = slot + 10
    mac = "02:67:65:" + ":".join(f"{byte:02x}" for byte in number.to_bytes(3, "big"))
    ipv6 = str(bridge.ipv6[number]) if bridge.ipv6 is not None else ""
    return str(bridge.ipv4[number]), ipv6, mac
