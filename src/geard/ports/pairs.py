"""The text forms of port pairs: `-p 8080:4000,53:0/udp`, the `X-PortMapping` lines and header."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from geard.failures import Invalid
from geard.ports.requests import PortPair


def parse_pairs(texts: Iterable[str]) -> tuple[PortPair, ...] | None:
    """`int:ext[/udp]`, comma lists and repeats; `none` for no port at all; None where nothing was said.

    Raises Invalid.
    """
    items = [item.strip() for text in texts for item in text.split(",")]
    if not items:
        return None
    if items == ["none"]:
        return ()
    pairs = tuple(_parse_pair(item) for item in items)
    check_pairs(pairs)
    return pairs


def _parse_pair(text: str) -> PortPair:
    numbers, slash, protocol = text.partition("/")
    internal, colon, external = numbers.partition(":")
    if not colon or not (_number(internal) and _number(external)) or (slash and protocol not in ("tcp", "udp")):
        raise Invalid(
            f"{text!r} is no pair of ports",
            hint="INTERNAL:EXTERNAL[/udp], both 0 to 65535; external 0 for a free one; 'none' for no port",
        )
    return PortPair(internal=int(internal), external=int(external), protocol="udp" if protocol == "udp" else "tcp")


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def check_pairs(pairs: Iterable[PortPair]) -> None:
    """Raises Invalid for a port out of range, or one that is named twice."""
    inside: set[tuple[int, str]] = set()
    outside: set[tuple[int, str]] = set()
    for pair in pairs:
        if not 1 <= pair.internal <= 65_535:
            raise Invalid(f"{pair.internal} is no port inside a gear", hint="1 to 65535")
        if not 0 <= pair.external <= 65_535:
            raise Invalid(f"{pair.external} is no port of a host", hint="1 to 65535, or 0 for a free one")
        if (pair.internal, pair.protocol) in inside:
            raise Invalid(f"port {pair.internal}/{pair.protocol} of the gear is mapped twice")
        if pair.external and (pair.external, pair.protocol) in outside:
            raise Invalid(f"port {pair.external}/{pair.protocol} of the host is asked for twice")
        inside.add((pair.internal, pair.protocol))
        outside.add((pair.external, pair.protocol))


def render_mapping(pairs: Iterable[PortPair]) -> str:
    """The value of the `X-PortMapping` header: `8080:4000,9090:4001`."""
    return ",".join(str(pair) for pair in pairs)


def describe_mapping(pairs: Iterable[PortPair]) -> str:
    """For people: `8080 -> 4000, 53/udp -> 4001`."""
    return ", ".join(
        f"{pair.internal}{'/udp' if pair.protocol == 'udp' else ''} -> {pair.external}" for pair in pairs
    )


def parse_metadata(unit: str) -> tuple[PortPair, ...]:
    """The pairs in the `X-PortMapping=` lines of a unit file."""
    facts = [line.partition("=")[::2] for line in unit.splitlines() if line.startswith("X-Port")]
    exposed = {value for name, value in facts if name == "X-PortExposed"}
    pairs = [_parse_pair(value) for name, value in facts if name == "X-PortMapping"]
    return tuple(
        msgspec.structs.replace(pair, exposed=f"{pair.internal}/{pair.protocol}" in exposed) for pair in pairs
    )
