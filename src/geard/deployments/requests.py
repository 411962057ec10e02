"""The words of deployments."""

from __future__ import annotations

from typing import Any

from geard.environments.requests import Variable
from geard.links.requests import NetworkLink
from geard.ports.requests import PortPair
from geard.request import Answer, Request, Route
from geard.words import Word

DEPLOYMENT, CONTAINER = "geard/deployment", "geard/container"
"""the labels by which a gear says what it is part of"""


class DeployedGear(Word):
    """A gear that is part of a deployment."""

    id: str
    container: str = ""
    version: str = ""
    started: bool = False
    """it is to run"""
    active: str = ""
    """what systemd says of it"""
    asked: dict[str, Any] = {}
    """what an install would have to say to have it again"""
    variables: tuple[Variable, ...] = ()
    ports: tuple[PortPair, ...] = ()
    links: tuple[NetworkLink, ...] = ()
    address: str = ""
    """IPv4, on its host's bridge"""

    @property
    def runs(self) -> bool:
        """It does, or systemd is about to have it run again."""
        return self.started and self.active in ("active", "activating", "reloading")


class OtherGear(Word):
    """A gear of the host that is not: what is in the way."""

    id: str
    deployment: str = ""
    memory: int = 0
    """bytes it was given by its own limit, where somebody said one"""
    ports: tuple[PortPair, ...] = ()


class Deployed(Answer):
    """What a host has of a deployment, and what room it has."""

    gears: tuple[DeployedGear, ...] = ()
    others: tuple[OtherGear, ...] = ()
    memory: int = 0
    """bytes, of the machine"""
    address: str = ""
    """by which other machines reach it, as far as it knows"""


class GetDeployed(Request[Deployed]):
    """What a host has of one deployment. The values of variables are among it."""

    route = Route("GET", "/deployment/{id}", scope="operate", text=False)

    id: str


class DeploymentSchema(Answer):
    schema: dict[str, Any]


class GetDeploymentSchema(Request[DeploymentSchema]):
    """The JSON Schema of a deployment's descriptor."""

    route = Route("GET", "/deployments/schema", scope="read", text=False)
