"""The words of links."""

from __future__ import annotations

from typing import ClassVar, Literal

from geard.ports.requests import Protocol
from geard.request import Answer, Request, Route
from geard.words import Part, Word

FarEnd = Literal["reachable", "refused", "no answer", "unresolved", "incomplete", "unknown"]


class Inside(Word):
    """Where a gear's program finds a link: an address of its own making and a port."""

    from_port: int
    from_host: str = ""
    """an IPv4 address; empty is 127.0.0.1"""
    protocol: Protocol = "tcp"

    @property
    def place(self) -> str:
        return f"{self.from_host or '127.0.0.1'}:{self.from_port}" + ("/udp" if self.protocol == "udp" else "")


class NetworkLink(Inside):
    """What a gear reaches at `from_host:from_port` is `to_host:to_port`.

    Without a `to_host`, or with `to_port` 0, it is incomplete: kept, and leading nowhere yet.
    """

    to_host: str = ""
    """an IPv4 address, or a name that the gear's host resolves; `localhost` is that host itself"""
    to_port: int = 0
    alias: str = ""
    """what its variables begin with, as Docker's links have it: `DB` gives DB_PORT_5432_TCP=…; else LINK"""
    wait: int | None = None
    """seconds a start waits for the far end to answer; 0 for not at all. Nothing said: as the link there had it"""

    @property
    def complete(self) -> bool:
        return bool(self.to_host and self.to_port)

    @property
    def target(self) -> str:
        return f"{self.to_host}:{self.to_port}" if self.complete else "nowhere yet"

    @property
    def described(self) -> str:
        return f"{self.place} -> {self.target}"


class NetworkLinks(Part):
    """`NetworkLinks` of an install: absent, those the gear has; an empty list, none."""

    key: ClassVar[str] = "NetworkLinks"
    value: tuple[NetworkLink, ...]


class ContainerLinks(Word):
    """The links one gear is to have: all of them, or with `add` those that are named beside those it has."""

    id: str
    network_links: tuple[NetworkLink, ...] = ()
    add: bool = False
    """links at other places stay as they are"""
    remove: tuple[Inside, ...] = ()
    """those at these places go, and the others stay; what is not there is fine"""


class LinkedContainer(Word):
    """The links of one gear as they are on record now."""

    id: str
    network_links: tuple[NetworkLink, ...] = ()
    changed: bool = True
    """False where it had just these before"""

    def text(self) -> str:
        return f"Links of {self.id}: {', '.join(link.described for link in self.network_links) or 'none'}"


class LinkedContainers(Answer):
    """On record; the report tells since when gears that run have them."""

    links: tuple[LinkedContainer, ...]

    def text(self) -> str:
        return "\n".join(gear.text() for gear in self.links)


class LinkContainers(Request[LinkedContainers]):
    """Say where the links of gears lead, also while they run. All of them, or where one cannot be, none."""

    route = Route("POST", "/containers/links", also=("PUT",))
    example = {
        "Links": [
            {
                "Id": "web-1",
                "NetworkLinks": [
                    {"FromHost": "127.0.0.2", "FromPort": 8081, "ToHost": "192.0.2.7", "ToPort": 4001}
                ],
            }
        ]
    }

    links: tuple[ContainerLinks, ...]

    def names(self) -> tuple[str, ...]:
        return tuple(each.id for each in self.links)


class LinkContainer(Request[LinkedContainers]):
    """The same for one gear."""

    route = Route("PUT", "/container/{id}/links", also=("POST",))

    id: str
    network_links: tuple[NetworkLink, ...] = ()
    add: bool = False
    remove: tuple[Inside, ...] = ()


class LinkSeen(NetworkLink):
    """A link, and what is at its far end just now."""

    address: str = ""
    """what `to_host` is for this host; empty where that is not known"""
    state: FarEnd = "unknown"
    """of a TCP port, from inside the gear where it runs; a UDP port tells only that it is refused"""
    in_force: bool = False
    """the gear runs, and is led there"""


class Links(Answer):
    id: str
    links: tuple[LinkSeen, ...] = ()
    running: bool = False

    def text(self) -> str:
        return "\n".join(f"{link.described} ({link.state})" for link in self.links)


class GetLinks(Request[Links]):
    """Where the links of a gear lead, and whether anything answers there."""

    route = Route("GET", "/container/{id}/links", scope="read", text=False)

    id: str
    probe: bool = True
    """ask the far ends; else their state is unknown"""
