"""The text forms of port pairs: `-p 8080:4000,53:0/udp,80:127.0.0.1:8080`, the `X-PortMapping` lines and header;
and what a change makes of those a gear has.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from geard.failures import Invalid
from geard.identifiers import check_id
from geard.ports.requests import ChangePorts, InnerPort, PortPair, Protocol, PublishedPorts

_FORM = "INTERNAL:[ADDRESS:]EXTERNAL[/udp]; external 0 for a free one; an IPv6 address stands in [ ]"


def parse_pairs(texts: Iterable[str]) -> tuple[PortPair, ...] | None:
    """`int:[address:]ext[/udp]`, comma lists and repeats; `none` for no port at all; None where nothing was said.

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


def parse_inner(text: str) -> InnerPort:
    """A port inside a gear: `80`, `53/udp`. Raises Invalid."""
    number, slash, protocol = text.partition("/")
    if not _number(number) or (slash and protocol not in ("tcp", "udp")):
        raise Invalid(f"{text!r} is no port inside a gear", hint="INTERNAL[/udp], such as 80 or 53/udp")
    return InnerPort(internal=int(number), protocol=_protocol(protocol))


def _parse_pair(text: str) -> PortPair:
    numbers, slash, protocol = text.partition("/")
    internal, colon, place = numbers.partition(":")
    address, _, external = place.rpartition(":")
    address, bare = (address[1:-1], False) if address[:1] == "[" and address[-1:] == "]" else (address, True)
    if (
        not colon
        or not (_number(internal) and _number(external))
        or (bare and ":" in address)
        or (not bare and ":" not in address)
        or (not address and place != external)
        or (slash and protocol not in ("tcp", "udp"))
    ):
        raise Invalid(f"{text!r} is no pair of ports", hint=f"{_FORM}; 'none' for no port")
    return PortPair(
        internal=int(internal),
        external=int(external),
        protocol=_protocol(protocol),
        address=parse_address(address),
    )


def _protocol(text: str) -> Protocol:
    return "udp" if text == "udp" else "tcp"


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def parse_address(text: str) -> str:
    """An address of a host to publish on, in its one spelling; `*` for all, empty for the agent's default.

    Raises Invalid.
    """
    if text in ("", "*"):
        return text
    from ipaddress import ip_address  # noqa: PLC0415 - 3 ms that most commands need not pay

    try:
        found = ip_address(text)
    except ValueError:
        raise Invalid(
            f"{text!r} is no address", hint="an IPv4 or IPv6 address of this host, such as 127.0.0.1; not a name"
        ) from None
    if found.version == 6 and found.is_loopback:
        # Linux neither routes nor masquerades what comes from ::1; IPv4 has route_localnet for that.
        raise Invalid(f"nothing can be published on {text}", hint="127.0.0.1 is where local programs find it")
    if found.is_multicast or (found.version == 6 and (found.scope_id or found.ipv4_mapped or found.is_link_local)):
        raise Invalid(f"nothing can be published on {text}", hint="take an address that one host has, without '%'")
    return str(found)


def check_pairs(pairs: Iterable[PortPair]) -> None:
    """Raises Invalid for a port or an address that cannot be, or a port that is named twice."""
    inside: set[tuple[int, str]] = set()
    outside: set[tuple[int, str]] = set()
    for pair in pairs:
        check_internal(pair.internal)
        if not 0 <= pair.external <= 65_535:
            raise Invalid(f"{pair.external} is no port of a host", hint="1 to 65535, or 0 for a free one")
        parse_address(pair.address)
        if (pair.internal, pair.protocol) in inside:
            raise Invalid(f"port {pair.internal}/{pair.protocol} of the gear is mapped twice")
        if pair.external and (pair.external, pair.protocol) in outside:
            raise Invalid(f"port {pair.external}/{pair.protocol} of the host is asked for twice")
        inside.add((pair.internal, pair.protocol))
        outside.add((pair.external, pair.protocol))


def check_internal(port: int) -> None:
    if not 1 <= port <= 65_535:
        raise Invalid(f"{port} is no port inside a gear", hint="1 to 65535")


def check_change(asked: ChangePorts) -> None:
    """Raises Invalid for words that cannot be."""
    check_id(asked.id)
    check_pairs(asked.ports)
    for port in asked.remove:
        check_internal(port.internal)
    if both := {(p.internal, p.protocol) for p in asked.remove} & {(p.internal, p.protocol) for p in asked.ports}:
        number, protocol = min(both)
        raise Invalid(f"port {number}/{protocol} is to be mapped and to be removed")
    if not (asked.ports or asked.remove or asked.replace):
        raise Invalid("there is nothing to change", hint=f"say which: {_FORM}, or what to remove")


def changed_ports(now: PublishedPorts | None, asked: ChangePorts, placed: tuple[PortPair, ...]) -> PublishedPorts:
    """The mappings of a gear with some added, moved or removed. What is not spoken of stays as it is.

    A port that the image exposes goes on following the image when it is only moved; once one is removed, the list
    is what it is. To remove what is not there is harmless. `placed` are the ports asked for, with the addresses
    they are to have. Raises Invalid where two would have one port.
    """
    if asked.replace:
        return PublishedPorts(value=placed)
    gone = {(port.internal, port.protocol) for port in asked.remove}
    pairs = {(pair.internal, pair.protocol): pair for pair in (now.value if now is not None else ())}
    if gone & pairs.keys():
        pairs = {
            key: msgspec.structs.replace(pair, exposed=False) for key, pair in pairs.items() if key not in gone
        }
    for pair in placed:
        key = (pair.internal, pair.protocol)
        pairs[key] = msgspec.structs.replace(pair, exposed=key in pairs and pairs[key].exposed)
    check_pairs(pairs.values())
    return PublishedPorts(value=tuple(pairs.values()))


def render_mapping(pairs: Iterable[PortPair]) -> str:
    """The value of the `X-PortMapping` header, without addresses as the original has it: `8080:4000,9090:4001`."""
    return ",".join(pair.mapping for pair in pairs)


def describe_mapping(pairs: Iterable[PortPair]) -> str:
    """For people: `8080 -> 4000, 53/udp -> 4001, 80 -> 127.0.0.1:8080`."""
    return ", ".join(pair.described for pair in pairs)


def parse_metadata(unit: str) -> tuple[PortPair, ...]:
    """The pairs in the `X-PortMapping=` lines of a unit file."""
    facts = [line.partition("=")[::2] for line in unit.splitlines() if line.startswith("X-Port")]
    exposed = {value for name, value in facts if name == "X-PortExposed"}
    pairs = [_parse_pair(value) for name, value in facts if name == "X-PortMapping"]
    return tuple(
        msgspec.structs.replace(pair, exposed=f"{pair.internal}/{pair.protocol}" in exposed) for pair in pairs
    )
