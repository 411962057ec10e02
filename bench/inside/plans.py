"""`python3 -m bench.inside.plans INSTANCES HOSTS TIMES`, by geard's own Python: from a descriptor's text and what
hosts have answered to the plan, as `gear plan` does it. No host is asked.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import count

from bench.findings import Findings
from bench.inside.client import IMAGE, Unexpected
from geard.deployments.descriptor import parse_descriptor
from geard.deployments.found import There
from geard.deployments.plan import Plan, Planned, plan_deployment
from geard.deployments.requests import Deployed, DeployedGear
from geard.environments.requests import EnvironmentPart
from geard.ports.requests import PortPair
from geard.words import builtins_of, part_of

TOGETHER = 25
"""instances of a container, each linked to all of the next: so many links a gear has"""
MEMORY = 64 << 30


def plans(instances: int, hosts: int, times: int) -> Findings:
    """With nothing there yet; with all there as it shall be; with all there and the first host left out."""
    found = Findings()
    text, names = describe(instances), [f"host-{number}" for number in range(1, hosts + 1)]
    begun = plan_deployment(parse_descriptor(text, "bench"), names)
    linked = plan_deployment(begun.descriptor, names, there_of(begun, names))
    there = there_of(linked, names)
    for _ in range(times):
        with timed(found, "new"):
            new = plan_deployment(parse_descriptor(text, "bench"), names)
        with timed(found, "again"):
            again = plan_deployment(linked.descriptor, names, there)
        with timed(found, "moved"):
            moved = plan_deployment(linked.descriptor, names[1:], there)
        gone = [gear for gear in linked.gears if gear.on == names[0]]
        if not (all(gear.added for gear in new.gears) and again.empty and len(moved.removed) == len(gone)):
            raise Unexpected("a plan is not what it was to be")
    found.facts["gears"] = len(begun.gears)
    found.facts["links"] = sum(len(gear.links) for gear in linked.gears)
    return found


@contextmanager
def timed(found: Findings, name: str) -> Generator[None]:
    """As a clock has it, and as the processor: neighbours take part of the first alone."""
    began, worked = time.perf_counter(), time.process_time()
    yield
    found.sample(f"{name}-worked", time.process_time() - worked)
    found.sample(name, time.perf_counter() - began)


def describe(instances: int) -> str:
    """A descriptor of so many: containers in a ring, each linked to the next."""
    containers = instances // TOGETHER
    return json.dumps({
        "Containers": [
            {
                "Name": f"app-{number}",
                "Image": IMAGE,
                "Count": TOGETHER,
                "PublicPorts": [{"Internal": 8080}],
                "Links": [{"To": f"app-{(number + 1) % containers}"}],
                "Environment": [{"Name": "GREETING", "Value": "hello"}, {"Name": "NUMBER", "Value": str(number)}],
                "Limits": {"Memory": "64m"},
            }
            for number in range(containers)
        ]
    })  # fmt: skip


def there_of(plan: Plan, hosts: Sequence[str]) -> There:
    """What the hosts answer when that plan has been carried out. Ports that it does not know are given here."""
    free = count(4_000)

    def gear_of(planned: Planned) -> DeployedGear:
        environment = part_of(EnvironmentPart, planned.install.parts)
        return DeployedGear(
            id=planned.id,
            container=planned.instance.container,
            version="version-of-the-bench",
            started=True,
            active="active",
            asked=builtins_of(planned.install),
            variables=environment.value.variables if environment is not None else (),
            ports=tuple(
                PortPair(internal=port.internal, external=port.external or next(free))
                for port in planned.instance.ports
            ),
            links=planned.links,
            address="10.183.0.11",
        )

    gears = {host: [gear_of(planned) for planned in plan.gears if planned.on == host] for host in hosts}
    return There({host: Deployed(gears=tuple(gears[host]), memory=MEMORY) for host in hosts})


if __name__ == "__main__":
    print(plans(*map(int, sys.argv[1:])).as_json())
