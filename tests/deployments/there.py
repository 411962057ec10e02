"""What hosts would answer once a plan has been carried out."""

from __future__ import annotations

import msgspec

from geard.deployments.found import There
from geard.deployments.plan import Plan
from geard.deployments.requests import Deployed, DeployedGear
from geard.environments.requests import EnvironmentPart
from geard.ports.requests import PublishedPorts
from geard.words import builtins_of, part_of


def deployed(plan: Plan, host: str) -> Deployed:
    gears: list[DeployedGear] = []
    for number, gear in enumerate(plan.gears):
        if gear.on != host:
            continue
        environment = part_of(EnvironmentPart, gear.install.parts)
        ports = part_of(PublishedPorts, gear.install.parts)
        assert ports is not None
        gears.append(
            DeployedGear(
                id=gear.id,
                container=gear.instance.container,
                version="v",
                started=True,
                active="active",
                asked=builtins_of(gear.install),
                variables=environment.value.variables if environment is not None else (),
                ports=tuple(
                    msgspec.structs.replace(pair, external=pair.external or 4000 + 10 * number + n)
                    for n, pair in enumerate(ports.value)
                ),
                links=gear.links,
                address=f"10.183.0.{number + 1}",
            )
        )
    return Deployed(gears=tuple(gears))


def carried_out(plan: Plan) -> There:
    return There(
        {host: deployed(plan, host) for host in dict.fromkeys([*plan.hosts, *(g.on for g in plan.gears)])}
    )
