"""Choosing the networks of geard's bridges, one an engine: such as nothing here leads to yet. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from geard.containers.slots import read_networks
from geard.failures import Unavailable

BRIDGES = ("geard0", "geard1")
PREFIXES = ("", "docker-")
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


def choose_ipv6(seed: bytes, nth: int) -> ipaddress.IPv6Network:
    """The nth /64 (0 or 1) of a unique local prefix (RFC 4193), its own for this machine's `seed`."""
    subnet = int.from_bytes(seed[:2].ljust(2, b"\0"), "big") ^ nth
    return ipaddress.IPv6Network((int(IPV6.network_address) | subnet << 64, 64))


def plan(text: str, routes: Iterable[str], seed: bytes, *, ipv6: bool) -> str:
    """The file of networks with what `text`, as it was found, does not say yet. Raises Unavailable."""
    taken, said = list(routes), read_networks(text)
    ipv6 = "ipv6" in said if "ipv4" in said else ipv6
    more: dict[str, str] = {}
    for nth, prefix in enumerate(PREFIXES):
        if f"{prefix}ipv4" not in said:
            more[f"{prefix}ipv4"] = str(choose_ipv4([*taken, *_ipv4(said), *_ipv4(more)]))
            if ipv6:
                more[f"{prefix}ipv6"] = str(choose_ipv6(seed, nth))
    return text + _render(more)


def moved(text: str, routes: Iterable[str], *, ipv6: bool) -> str:
    """The file of networks for a machine that cannot have all that `text` says: each network that leads elsewhere
    here becomes another, and none of them overlaps with a second. Raises Unavailable.
    """
    said, decided = read_networks(text), list(routes)
    for name in [name for name in said if name.endswith("ipv4")]:
        if overlaps(ipaddress.IPv4Network(said[name]), decided):
            others = _ipv4({other: net for other, net in said.items() if other != name})
            said[name] = str(choose_ipv4([*decided, *others]))
        decided.append(said[name])
    return _render({name: net for name, net in said.items() if ipv6 or not name.endswith("ipv6")})


def _render(said: dict[str, str]) -> str:
    return "".join(f"{name} {net}\n" for name, net in said.items())


def _ipv4(said: dict[str, str]) -> list[str]:
    return [net for name, net in said.items() if name.endswith("ipv4")]
