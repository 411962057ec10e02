"""The text forms of links: `-n 127.0.0.2:8081:9.8.23.14:8080`, what may stand in them, and what a change makes of
those a gear has. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from geard.failures import Invalid
from geard.links.file import LOOPBACK, Link, is_ipv4
from geard.links.requests import ContainerLinks, Inside, NetworkLink
from geard.ports.requests import Protocol

_FORM = "[ALIAS=][FROM_ADDRESS:]FROM_PORT:TO_HOST:TO_PORT[/udp]"
_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?", re.ASCII
)
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
LIMIT = 256
"""links of one gear"""
LONGEST_WAIT = 86_400


def parse_links(texts: Iterable[str]) -> tuple[NetworkLink, ...] | None:
    """Comma lists and repeats of `[alias=][from_host:]from_port:to_host:to_port[/udp]`; `none` for no link at all;
    None where nothing was said. Without from_host it is 127.0.0.1; to_host and to_port may be empty.

    Raises Invalid.
    """
    # The README writes -n=127.0.0.2:…, which as a short option leaves the '=' to the value.
    items = [item.strip() for text in texts for item in text.removeprefix("=").split(",")]
    if not items:
        return None
    if items in (["none"], [""]):
        return ()
    links = tuple(_parse_link(item) for item in items)
    check_links(links)
    return links


def _parse_link(text: str) -> NetworkLink:
    alias, equals, rest = text.rpartition("=")
    places, protocol = _split_protocol(rest)
    if "[" in places or "]" in places:
        raise Invalid(f"{text!r}: links are IPv4's", hint="an IPv4 address, or a name that has one")
    fields = places.split(":")
    if len(fields) == 3:
        fields = ["", *fields]
    if len(fields) != 4 or not _number(fields[1]) or not _number(fields[3] or "0") or (equals and not alias):
        raise Invalid(f"{text!r} is no link", hint=f"{_FORM}; 'none' for no link")
    return NetworkLink(
        from_host=fields[0],
        from_port=int(fields[1]),
        to_host=fields[2],
        to_port=int(fields[3] or 0),
        protocol=protocol,
        alias=alias,
    )


def parse_inside(text: str) -> Inside:
    """Where a link is inside a gear: `8081`, `127.0.0.2:8081`, `53/udp`. Raises Invalid."""
    place, protocol = _split_protocol(text)
    address, _, port = place.rpartition(":")
    if not _number(port):
        raise Invalid(f"{text!r} is no place of a link", hint="[FROM_ADDRESS:]FROM_PORT[/udp], such as 8081")
    inside = Inside(from_host=address, from_port=int(port), protocol=protocol)
    _check_inside(inside)
    return inside


def _split_protocol(text: str) -> tuple[str, Protocol]:
    place, slash, protocol = text.rpartition("/")
    if not slash:
        return text, "tcp"
    if protocol not in ("tcp", "udp"):
        raise Invalid(f"{protocol!r} in {text!r} is no protocol of a link", hint="tcp or udp")
    return place, "udp" if protocol == "udp" else "tcp"


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def check_links(links: Sequence[NetworkLink]) -> None:
    """Raises Invalid for a link that cannot be, or two at one place."""
    if len(links) > LIMIT:
        raise Invalid(f"{len(links)} links of one gear", hint=f"at most {LIMIT}")
    seen: set[tuple[str, int, str]] = set()
    for link in links:
        _check_inside(link)
        if not 0 <= link.to_port <= 65_535:
            raise Invalid(f"{link.to_port} is no port to lead to", hint="1 to 65535, or 0 for nowhere yet")
        if link.to_host:
            _check_target(link.to_host)
        if link.alias and not _ALIAS.fullmatch(link.alias):
            raise Invalid(f"{link.alias[:80]!r} is no alias", hint="letters, digits, '_', '-', '.', at most 64")
        if not 0 <= (link.wait or 0) <= LONGEST_WAIT:
            raise Invalid(f"nobody waits {link.wait} s for a link", hint="0 for not at all, a day at most")
        if link.wait and link.protocol == "udp":
            raise Invalid(f"{link.place} cannot be waited for", hint="whether a UDP port answers cannot be seen")
        if _key(link) in seen:
            raise Invalid(f"{link.place} is led to two places")
        seen.add(_key(link))


def _check_inside(inside: Inside) -> None:
    if not 1 <= inside.from_port <= 65_535:
        raise Invalid(f"{inside.from_port} is no port inside a gear", hint="1 to 65535")
    host = _from_host(inside)
    if not is_ipv4(host):
        raise Invalid(
            f"{inside.from_host!r} is no address that a link can have inside a gear",
            hint="an IPv4 address such as 127.0.0.2 or 192.168.1.1; none for 127.0.0.1",
        )
    if not 1 <= int(host.partition(".")[0]) <= 223:
        raise Invalid(f"no program can connect to {host}", hint="take one such as 127.0.0.2 or 192.168.1.1")


def _check_target(host: str) -> None:
    if is_ipv4(host):
        if not 1 <= int(host.partition(".")[0]) <= 223:
            raise Invalid(f"no link can lead to {host}", hint="the address of one host; localhost for its own")
    elif ":" in host:
        raise Invalid(f"no link can lead to {host[:80]!r}: links are IPv4's", hint="its IPv4 address, or its name")
    elif not _NAME.fullmatch(host) or host.rstrip(".").rpartition(".")[2].isdigit():
        raise Invalid(f"{host[:80]!r} is no host that a link can lead to", hint="an IPv4 address or a name")


def _from_host(inside: Inside) -> str:
    return LOOPBACK if inside.from_host in ("", "localhost") else inside.from_host


def _key(inside: Inside) -> tuple[str, int, str]:
    return _from_host(inside), inside.from_port, inside.protocol


def check_change(asked: ContainerLinks) -> None:
    """Raises Invalid for words that cannot be."""
    check_links(asked.network_links)
    for inside in asked.remove:
        _check_inside(inside)
    if both := {_key(inside) for inside in asked.remove} & {_key(link) for link in asked.network_links}:
        raise Invalid(f"{min(both)[0]}:{min(both)[1]} is to be led somewhere and to be removed")


def changed_links(now: Sequence[Link], asked: ContainerLinks) -> tuple[Link, ...]:
    """The links of a gear after a change. A link that says nothing of waiting waits as the one there did."""
    had = {(link.from_host, link.from_port, link.protocol): link for link in now}
    given = {_key(link): to_file(link, had.get(_key(link))) for link in asked.network_links}
    if not (asked.add or asked.remove):
        return tuple(given.values())
    gone = {_key(inside) for inside in asked.remove}
    links = tuple(({key: link for key, link in had.items() if key not in gone} | given).values())
    check_links([from_file(link) for link in links])
    return links


def to_file(link: NetworkLink, before: Link | None = None) -> Link:
    wait = link.wait if link.wait is not None else (before.wait if before is not None else 0)
    from_host, from_port, protocol = _key(link)
    return Link(from_host, from_port, link.to_host, link.to_port, protocol, wait, link.alias)


def from_file(link: Link) -> NetworkLink:
    return NetworkLink(
        from_host=link.from_host,
        from_port=link.from_port,
        protocol="udp" if link.protocol == "udp" else "tcp",
        to_host=link.to_host,
        to_port=link.to_port,
        alias=link.alias,
        wait=link.wait,
    )


def waiting(links: Sequence[NetworkLink], seconds: int) -> tuple[NetworkLink, ...]:
    """The same, each of TCP waited for at a start."""
    return tuple(replace(link, wait=seconds) if link.protocol == "tcp" else link for link in links)


def describe(links: Iterable[Link]) -> str:
    """For people: `127.0.0.1:8080 -> h2:4000 (waits 60 s), …`."""
    return ", ".join(
        from_file(link).described + (f" (a start waits {link.wait} s for it)" if link.wait else "")
        for link in links
    )
