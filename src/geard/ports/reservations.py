"""Reservations of host ports on disk: one symbolic link a port, made with one atomic call.

    ports/interfaces/1/49/4900      -> /var/lib/containers/units/ab/ctr-abcdef.service
    ports/interfaces/1/53/5353.udp  -> …
    ports/interfaces/1/next            the block to look at first: a hint, never trusted

A reservation may point to a unit that is not written yet: its gear's lock is held then. One whose gear neither
is there nor has its lock held is debris of a killed install and is taken over.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from geard.failures import AlreadyExists, Conflict, Unavailable
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, read_hint, write_hint
from geard.identifiers import DEFAULT_PORT

FIRST, LAST = 4_000, 59_999
BLOCK = 100
_INTERFACE = "1"
_NEXT = "next"
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def folder(paths: Paths) -> Path:
    return paths.base / "ports" / "interfaces" / _INTERFACE


def place(paths: Paths, port: int, protocol: str) -> Path:
    name = str(port) if protocol == "tcp" else f"{port}.{protocol}"
    return folder(paths) / str(port // BLOCK) / name


def owner(paths: Paths, port: int, protocol: str) -> Path | None:
    """The unit file a port is reserved for; None while it is free. A file that is no link is its own owner: so an
    admin may keep a port away.
    """
    link = place(paths, port, protocol)
    try:
        return Path(os.readlink(link))
    except FileNotFoundError:
        return None
    except OSError:
        return link


def reserve(paths: Paths, changes: Changes, port: int, protocol: str, unit: Path) -> None:
    """Reserve one port for a gear; having it already is fine. Raises AlreadyExists where another has it."""
    link = place(paths, port, protocol)
    changes.folder(link.parent)
    holder: Path | None = None
    for _ in range(3):
        with suppress(FileExistsError):
            changes.symlink(unit, link)
            return
        holder = owner(paths, port, protocol)
        if holder == unit:
            return
        if holder is not None and not _abandoned(changes, link, holder):
            break
    name = holder.stem.removeprefix("ctr-") if holder is not None else "another gear"
    raise AlreadyExists(
        f"port {port}/{protocol} is kept away by the file {link}"
        if holder == link
        else f"port {port}/{protocol} belongs to {name}",
        hint="choose another, or 0 to be given a free one",
    )


def allocate(paths: Paths, changes: Changes, protocol: str, unit: Path) -> int:
    """Reserve a free port. Raises Unavailable where none is left."""
    base = folder(paths)
    changes.folder(base)
    for block in _blocks(base):
        taken = {entry.name for entry in _entries(base / str(block))}
        changes.folder(base / str(block))
        for port in range(block * BLOCK, block * BLOCK + BLOCK):
            name = str(port) if protocol == "tcp" else f"{port}.{protocol}"
            if name in taken or port == DEFAULT_PORT or in_use(port, protocol):
                continue
            with suppress(FileExistsError):
                changes.symlink(unit, place(paths, port, protocol))
                _remember(base, block)
                return port
    raise Unavailable(
        f"no free {protocol} port from {FIRST} to {LAST} is left on this host",
        hint="delete gears, or ask for a port by number",
    )


def release(paths: Paths, changes: Changes, port: int, protocol: str, unit: Path) -> bool:
    """Give a port back, if it is this gear's; anyone else's is left alone."""
    if owner(paths, port, protocol) != unit:
        return False
    changes.remove(place(paths, port, protocol))
    return True


def held_by(paths: Paths, unit: Path) -> Iterator[tuple[int, str]]:
    """Every port reserved for a gear, found by looking at all: for repair, not for a request's path."""
    for block in _entries(folder(paths)):
        for entry in _entries(Path(block.path)) if block.is_dir(follow_symlinks=False) else ():
            number, _, protocol = entry.name.partition(".")
            with suppress(OSError, ValueError):
                if os.readlink(entry.path) == str(unit):
                    yield int(number), protocol or "tcp"


def in_use(port: int, protocol: str) -> bool:
    """Whether a process of this host holds the port on any address, IPv4 or IPv6."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, kind) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if protocol == "tcp":
                    # Connections of the past (TIME_WAIT) do not hold a port; a listener still does.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
    return False


def keep_from_clients(ports: list[int]) -> None:
    """Have the kernel give none of these ports to outgoing connections (ip-sysctl, ip_local_reserved_ports).

    Only those inside the range it takes them from matter. Two writers at once may lose one of the two; the
    next start of the host puts all in.
    """
    with suppress(OSError, ValueError):
        low, high = _client_range()
        wanted = {port for port in ports if low <= port <= high}
        if not wanted:
            return
        now = _RESERVED.read_text().strip()
        if not wanted <= set(_numbers(now)):
            _RESERVED.write_text(",".join([*([now] if now else []), *map(str, sorted(wanted))]))


def _numbers(text: str) -> Iterator[int]:
    for item in filter(None, text.split(",")):
        first, _, last = item.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _blocks(base: Path) -> Iterator[int]:
    """Every block once, from the one that last had a free port; those whose ports the kernel gives to outgoing
    connections come last.
    """
    first, last = FIRST // BLOCK, LAST // BLOCK + 1
    low, high = _client_range()
    quiet_end = min(max(low // BLOCK, first), last)
    busy_end = min(max(high // BLOCK + 1, quiet_end), last)
    start = read_hint(base / _NEXT)
    for begin, end in ((first, quiet_end), (busy_end, last), (quiet_end, busy_end)):
        middle = start if begin <= start < end else begin
        yield from range(middle, end)
        yield from range(begin, middle)


def _client_range() -> tuple[int, int]:
    """Where the kernel takes the ports of outgoing connections from (ip-sysctl, ip_local_port_range)."""
    try:
        low, high = _EPHEMERAL.read_text().split()
    except OSError:
        return 32_768, 60_999
    return int(low), int(high)


def _remember(base: Path, block: int) -> None:
    if read_hint(base / _NEXT) != block:
        write_hint(base / _NEXT, block)


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            return list(found)
    except FileNotFoundError:
        return []


def _abandoned(changes: Changes, link: Path, unit: Path) -> bool:
    """Remove a reservation whose gear does not exist and is not being made just now."""
    if unit.exists():
        return False
    gear = unit.parent / unit.stem.removeprefix("ctr-")
    try:
        with locked(gear, wait=False):
            if unit.exists() or (gear / "deleting").exists():
                return False
            changes.remove(link)
            with suppress(OSError):
                gear.rmdir()
            return True
    except Conflict:
        return False
