"""Reservations of host ports on disk: one symbolic link a port, made with one atomic call.

    ports/interfaces/1/49/4900      -> /var/lib/containers/units/ab/ctr-abcdef.service
    ports/interfaces/1/53/5353.udp  -> …
    ports/interfaces/1/next            the block to look at first: a hint, never trusted

A reservation may point to a unit that is not written yet: its gear's lock is held then. One whose gear neither
is there nor has its lock held is debris of a killed install and is taken over.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from geard.failures import AlreadyExists, Conflict, Invalid, Unavailable
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, read_hint, read_text, write_hint
from geard.identifiers import DEFAULT_PORT
from geard.ports.listening import in_use, who_holds

SPAN = range(4_000, 60_000)
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


def reserve(paths: Paths, changes: Changes, port: int, protocol: str, unit: Path) -> bool:
    """Reserve one port for a gear; False where it has it already. Raises AlreadyExists where another has it."""
    if port == DEFAULT_PORT and protocol == "tcp":
        raise Invalid(f"port {port} is the agent's own", hint="choose another, or 0 to be given a free one")
    link = place(paths, port, protocol)
    changes.folder(link.parent)
    holder: Path | None = None
    for _ in range(3):
        with suppress(FileExistsError):
            changes.symlink(unit, link)
            return True
        holder = owner(paths, port, protocol)
        if holder == unit:
            return False
        if holder is not None and not _abandoned(changes, link, holder):
            break
    raise AlreadyExists(
        f"port {port}/{protocol} is kept away from gears by the file {link}"
        if holder == link
        else f"port {port}/{protocol} belongs to {_gear(holder)}",
        hint="choose another, or 0 to be given a free one",
    )


def _gear(unit: Path | None) -> str:
    return f"gear {unit.stem.removeprefix('ctr-')}" if unit is not None else "another gear"


def check_free(port: int, protocol: str, address: str = "") -> None:
    """That no process of this host listens there. Raises AlreadyExists with who does, Invalid for an address that
    this host does not have.
    """
    where = f"port {port}/{protocol}" + (f" of {address}" if address else "")
    try:
        taken = in_use(port, protocol, address)
    except OSError as error:
        raise Invalid(
            f"nothing can be published on {address}: {os.strerror(error.errno or 0)}",
            hint="an address of this host; 'ip address' shows them",
        ) from None
    if taken:
        holder = who_holds(port, protocol, address) or "another program"
        raise AlreadyExists(
            f"{where} is taken on this host: {holder} listens on it",
            hint="end that program, choose another port, or 0 to be given a free one",
        )


def allocate(paths: Paths, changes: Changes, protocol: str, unit: Path, span: range = SPAN) -> int:
    """Reserve a free port out of `span`. Raises Unavailable where none is left."""
    base = folder(paths)
    changes.folder(base)
    for block in _blocks(base, span):
        taken = {entry.name for entry in _entries(base / str(block))}
        changes.folder(base / str(block))
        for port in range(max(block * BLOCK, span.start), min(block * BLOCK + BLOCK, span.stop)):
            name = str(port) if protocol == "tcp" else f"{port}.{protocol}"
            if name in taken or port == DEFAULT_PORT or in_use(port, protocol):
                continue
            with suppress(FileExistsError):
                changes.symlink(unit, place(paths, port, protocol))
                _remember(base, block)
                return port
    raise Unavailable(
        f"no free {protocol} port from {span.start} to {span.stop - 1} is left on this host",
        hint="delete gears, ask for a port by number, or widen range in [ports] of /etc/geard/geard.toml",
    )


def release(paths: Paths, changes: Changes, port: int, protocol: str, unit: Path) -> bool:
    """Give a port back, if it is this gear's; anyone else's is left alone."""
    if owner(paths, port, protocol) != unit:
        return False
    changes.remove(place(paths, port, protocol))
    return True


def held_by(paths: Paths, unit: Path) -> Iterator[tuple[int, str]]:
    """Every port reserved for a gear, found by looking at all: for repair, not for a request's path."""
    for port, protocol in all_reserved(paths):
        with suppress(OSError):
            if os.readlink(place(paths, port, protocol)) == str(unit):
                yield port, protocol


def all_reserved(paths: Paths) -> Iterator[tuple[int, str]]:
    """Every port that somebody has, or that an admin keeps away."""
    for block in _entries(folder(paths)):
        for entry in _entries(Path(block.path)) if block.is_dir(follow_symlinks=False) else ():
            number, _, protocol = entry.name.partition(".")
            with suppress(ValueError):
                yield int(number), protocol or "tcp"


def keep_from_clients(paths: Paths, ports: list[int]) -> None:
    """Have the kernel give none of these ports to outgoing connections (ip-sysctl, ip_local_reserved_ports).

    Only those inside the range it takes them from matter. What is written replaces what was there, so one writer
    at a time; the start hook of the host takes the same lock.
    """
    with suppress(OSError, ValueError):
        low, high = _client_range()
        wanted = {port for port in ports if low <= port <= high}
        if not wanted:
            return
        with locked(folder(paths)):
            now = set(_numbers(_RESERVED.read_text().strip()))
            if not wanted <= now:
                _RESERVED.write_text(",".join(_spans(now | wanted)))


def _spans(numbers: set[int]) -> Iterator[str]:
    """`4000-4002,4004`: in spans, since the kernel reads no more than a page."""
    for number in sorted(numbers):
        if number - 1 in numbers:
            continue
        last = next(n for n in itertools.count(number) if n + 1 not in numbers)
        yield str(number) if last == number else f"{number}-{last}"


def _numbers(text: str) -> Iterator[int]:
    for item in filter(None, text.split(",")):
        first, _, last = item.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _blocks(base: Path, span: range = SPAN) -> Iterator[int]:
    """Every block once, from the one that last had a free port; those whose ports the kernel gives to outgoing
    connections come last.
    """
    first, last = span.start // BLOCK, (span.stop - 1) // BLOCK + 1
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
    low, high = (read_text(_EPHEMERAL) or "32768 60999").split()
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
            # While this one waited its turn another may have taken the port over: then the link is that one's.
            with suppress(OSError):
                if os.readlink(link) == str(unit):
                    changes.remove(link)
            with suppress(OSError):
                gear.rmdir()
            return True
    except Conflict:
        return False
