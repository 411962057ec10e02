"""What a host has of a deployment, looked up. Nothing here changes anything."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from geard.containers import listing, versions
from geard.containers.defaults import ASKED
from geard.containers.definition import Definition
from geard.containers.folders import Folders, unit_name
from geard.containers.updating import wish_of
from geard.deployments.descriptor import schema
from geard.deployments.requests import (
    CONTAINER,
    DEPLOYMENT,
    Deployed,
    DeployedGear,
    DeploymentSchema,
    GetDeployed,
    GetDeploymentSchema,
    OtherGear,
)
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.environments import store
from geard.environments.requests import EnvironmentPart, Variable
from geard.host import Host
from geard.identifiers import check_id
from geard.links import store as links
from geard.links.forms import from_file
from geard.ports.requests import PublishedPorts
from geard.words import builtins_of, part_of


@operation
async def get_deployed(request: GetDeployed, work: Work) -> Deployed:
    check_id(request.id, "deployment")
    host = work.host
    units = await host.systemd.units("ctr-*.service")
    states = {name: state.active for name, state in units.items()}
    return await work.on_disk(_look, host, request.id, states)


def _look(host: Host, deployment: str, states: dict[str, str]) -> Deployed:
    gears: list[DeployedGear] = []
    others: list[OtherGear] = []
    wanted = set(listing.wanted(host.paths))
    for id in listing.installed(host.paths):
        definition = versions.current(Folders.of(host.paths, id))
        if definition is None:
            continue  # deleted meanwhile
        if definition.labels.get(DEPLOYMENT) == deployment:
            gears.append(_ours(host, definition, id in wanted, states.get(unit_name(id), "inactive")))
        else:
            others.append(_other(definition))
    return Deployed(
        gears=tuple(gears),
        others=tuple(others),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        address=_address(),
    )


def _ours(host: Host, definition: Definition, started: bool, active: str) -> DeployedGear:
    ports = part_of(PublishedPorts, definition.parts)
    environment = part_of(EnvironmentPart, definition.parts)
    variables = store.load(host.paths, environment.value.id if environment is not None else definition.id) or {}
    return DeployedGear(
        id=definition.id,
        container=definition.labels.get(CONTAINER, ""),
        version=definition.version,
        started=started,
        active=active,
        asked=builtins_of(wish_of(definition)),
        variables=tuple(Variable(name=name, value=value) for name, value in variables.items()),
        ports=ports.value if ports is not None else (),
        links=tuple(map(from_file, links.load(host.paths, definition.id))),
        address=definition.ipv4,
    )


def _other(definition: Definition) -> OtherGear:
    ports = part_of(PublishedPorts, definition.parts)
    said = definition.origins.get("memory") == ASKED
    return OtherGear(
        id=definition.id,
        deployment=definition.labels.get(DEPLOYMENT, ""),
        memory=(definition.limits.memory or 0) if said else 0,
        ports=ports.value if ports is not None else (),
    )


def _address() -> str:
    """The machine's address on the way out. Nothing is sent: a datagram socket's connect asks for a route."""
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            return str(probe.getsockname()[0])
    return socket.gethostname()


@operation
async def get_deployment_schema(request: GetDeploymentSchema, work: Work) -> DeploymentSchema:
    return DeploymentSchema(schema=schema())
