"""The words of ports."""

from __future__ import annotations

from typing import ClassVar, Literal

from geard.request import Answer, Request, Route
from geard.words import Part, Word

Protocol = Literal["tcp", "udp"]


class PortPair(Word):
    """A port inside the gear and the host's port that leads to it; external 0 asks for a free one."""

    internal: int
    external: int = 0
    protocol: Protocol = "tcp"
    address: str = ""
    """the host's address, IPv4 or IPv6; when it is asked for, empty is the agent's default and `*` all; when it is
    given, empty is all
    """
    exposed: bool = False
    """given because the image exposes the port, not because somebody asked"""

    @property
    def place(self) -> str:
        """Where it is on the host: `4000`, `127.0.0.1:4000`, `[fd00::7]:4000`."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.external}" if address else str(self.external)

    @property
    def described(self) -> str:
        """For people: `53/udp -> 4001`."""
        return f"{self.internal}{'/udp' if self.protocol == 'udp' else ''} -> {self.place}"

    @property
    def mapping(self) -> str:
        """As the original writes it, without the address: `8080:4000`."""
        return f"{self.internal}:{self.external}" + ("/udp" if self.protocol == "udp" else "")

    def __str__(self) -> str:
        return f"{self.internal}:{self.place}" + ("/udp" if self.protocol == "udp" else "")


class InnerPort(Word):
    """A port inside a gear."""

    internal: int
    protocol: Protocol = "tcp"


class PublishedPorts(Part):
    """`Ports` of an install: absent, the ports that the image exposes; an empty list, none."""

    key: ClassVar[str] = "Ports"
    value: tuple[PortPair, ...]


class Ports(Answer):
    example = {"Ports": [{"Internal": 80, "External": 8080}]}

    ports: tuple[PortPair, ...]

    def text(self) -> str:
        return "\n".join(str(pair) for pair in self.ports)


class GetPorts(Request[Ports]):
    """Which ports of a gear are published, and where."""

    route = Route("GET", "/container/{id}/ports", scope="read", text=False)

    id: str


class ChangedPorts(Answer):
    """The mappings after a change, on record; the report tells since when they hold."""

    id: str
    ports: tuple[PortPair, ...]
    version: str
    """the request id under which the definition with them is kept"""
    changed: bool = True
    """False where just this was in force before"""

    def headers(self) -> dict[str, str]:
        return {"X-PortMapping": ",".join(pair.mapping for pair in self.ports)} if self.ports else {}

    def text(self) -> str:
        return "PortMapping: " + (", ".join(pair.described for pair in self.ports) or "none")


class ChangePorts(Request[ChangedPorts]):
    """Add, move or remove published ports of a gear, also while it runs; what is not spoken of stays."""

    route = Route("PUT", "/container/{id}/ports")
    example = {
        "Id": "web-1",
        "Ports": [{"Internal": 8080, "External": 9000}],
        "Remove": [{"Internal": 53, "Protocol": "udp"}],
    }

    id: str
    ports: tuple[PortPair, ...] = ()
    remove: tuple[InnerPort, ...] = ()
    replace: bool = False
    """`ports` are all that shall be published"""
