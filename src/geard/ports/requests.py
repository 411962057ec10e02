"""The words of ports."""

from __future__ import annotations

from typing import ClassVar, Literal

from geard.request import Answer, Request, Route
from geard.words import Part, Word


class PortPair(Word):
    """A port inside the gear and the host's port that leads to it; external 0 asks for a free one."""

    internal: int
    external: int = 0
    protocol: Literal["tcp", "udp"] = "tcp"
    exposed: bool = False
    """given because the image exposes the port, not because somebody asked"""

    def __str__(self) -> str:
        return f"{self.internal}:{self.external}" + ("/udp" if self.protocol == "udp" else "")


class PublishedPorts(Part):
    """`Ports` of an install: absent, the ports that the image exposes; an empty list, none."""

    key: ClassVar[str] = "Ports"
    value: tuple[PortPair, ...]


class Ports(Answer):
    ports: tuple[PortPair, ...]

    def text(self) -> str:
        return "\n".join(str(pair) for pair in self.ports)


class GetPorts(Request[Ports]):
    """Which ports of a gear are published, and where."""

    route = Route("GET", "/container/{id}/ports", scope="read", text=False)

    id: str
