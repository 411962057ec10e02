"""Choosing the network of geard's bridge: one that nothing here leads to yet. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from geard.failures import Unavailable

BRIDGE = "geard0"
CANDIDATES = tuple(
    ipaddress.IPv4Network(f"10.{second}.0.0/16") for second in (183, 184, 185, 186, 187, 203, 204, 205)
)
IPV6 = ipaddress.IPv6Network("fd67:6561:7264::/48")


def choose_ipv4(taken: Iterable[str]) -> ipaddress.IPv4Network:
    """The first candidate that overlaps with none of the networks this host has routes to. Raises Unavailable."""
    known = list(taken)
    for candidate in CANDIDATES:
        if not overlaps(candidate, known):
            return candidate
    raise Unavailable(
        "every network that geard would choose is in use on this host",
        hint="write one into /var/lib/containers/network: ipv4 10.N.0.0/16",
    )


def overlaps(network: ipaddress.IPv4Network, taken: Iterable[str]) -> bool:
    """Whether one of the destinations of routes (ip-route(8)) lies in `network`, or it in them."""
    known = (ipaddress.IPv4Network(text, strict=False) for text in taken if ":" not in text and text != "default")
    return any(network.overlaps(other) for other in known)


def choose_ipv6(seed: bytes) -> ipaddress.IPv6Network:
    """A /64 of a unique local prefix (RFC 4193), its own for this machine's `seed`."""
    subnet = int.from_bytes(seed[:2].ljust(2, b"\0"), "big")
    return ipaddress.IPv6Network((int(IPV6.network_address) | subnet << 64, 64))


def render(ipv4: ipaddress.IPv4Network, ipv6: ipaddress.IPv6Network | None) -> str:
    return f"ipv4 {ipv4}\n" + (f"ipv6 {ipv6}\n" if ipv6 is not None else "")
