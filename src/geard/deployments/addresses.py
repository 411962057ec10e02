"""Where those linked to an instance see its ports. Pure.

An address is a deployment's own: no two ports of instances share one, and what an instance had it keeps, wherever
it moves, as long as the links allow it.

| Link | Addresses |
|---|---|
| plain | 127.0.0.1, port p, p+1, … (after 65535 on from 40000) |
| MatchPort, or an alias with a port | 127.0.0.1, 127.0.0.2, …, that port |
| NonLocal | 192.168.1.1, port p, p+1, … |
| NonLocal with either | 192.168.1.1, 192.168.1.2, …, that port |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from geard.deployments.descriptor import Container, Descriptor, Link, PublicPort, Target
from geard.failures import Invalid

LOCAL, NON_LOCAL = "127.0.0.1", "192.168.1.1"
AFTER_THE_LAST = 40_000

PortKey = tuple[int, str]
"""number inside the gear, protocol"""


@dataclass
class Demand:
    """What all links together ask of one port of a container."""

    non_local: bool = False
    ports: set[int] = field(default_factory=set[int])
    """the very port numbers that must be seen"""

    def met_by(self, target: Target) -> bool:
        if self.non_local and target.host.startswith("127."):
            return False
        return all(port == target.port for port in self.ports)


def aliases(link: Link, target: Container, source: str) -> list[PublicPort]:
    """The ports of `target` that a link of `source` is about. Raises Invalid."""
    public = {(port.internal, port.protocol) for port in target.public_ports}
    if not public:
        raise Invalid(f"target {target.name} has no public ports to link to from {source}")
    found = list(link.alias_ports)
    for number in link.ports:
        protocols = [protocol for internal, protocol in sorted(public) if internal == number]
        aliased = {alias.internal for alias in link.alias_ports}
        if number not in aliased:
            found += [
                PublicPort(internal=number, protocol="udp" if p == "udp" else "tcp") for p in protocols or ["tcp"]
            ]
    if not found:
        found = [PublicPort(internal=port.internal, protocol=port.protocol) for port in target.public_ports]
    for alias in found:
        if (alias.internal, alias.protocol) not in public:
            raise Invalid(
                f"target port {alias.internal} on {target.name} is not found",
                hint=f"{source} links to it; {target.name} has {', '.join(f'{n}/{p}' for n, p in sorted(public))}",
            )
    return found


def linked(descriptor: Descriptor) -> list[tuple[Container, Link, Container, list[PublicPort]]]:
    """Every link: its source, itself, its target, the ports it is about; those that leave least choice first.

    Raises Invalid.
    """
    containers = {container.name: container for container in descriptor.containers}
    found: list[tuple[Container, Link, Container, list[PublicPort]]] = []
    for source in descriptor.containers:
        for link in source.links:
            target = containers.get(link.to)
            if target is None:
                raise Invalid(
                    f"there is no container {link.to!r} for a link of {source.name}",
                    hint=f"containers: {', '.join(containers)}",
                )
            found.append((source, link, target, aliases(link, target, source.name)))
    return sorted(found, key=lambda it: -(4 * it[1].match_port + 2 * it[1].non_local + (it[0].name == it[2].name)))


def demands(descriptor: Descriptor) -> dict[tuple[str, PortKey], Demand]:
    """By container and port, in the order in which addresses are given. Raises Invalid."""
    found: dict[tuple[str, PortKey], Demand] = {}
    for _, link, target, ports in linked(descriptor):
        for alias in ports:
            demand = found.setdefault((target.name, (alias.internal, alias.protocol)), Demand())
            demand.non_local |= link.non_local
            if link.match_port or alias.external:
                demand.ports.add(alias.external or alias.internal)
    for (name, port), demand in found.items():
        if len(demand.ports) > 1:
            numbers = " and ".join(map(str, sorted(demand.ports)))
            raise Invalid(
                f"links ask for port {port[0]} of {name} as {numbers}",
                hint="an instance has one address for all that are linked to it; make the aliases the same",
            )
    return found


def give_addresses(
    descriptor: Descriptor,
    instances: Mapping[str, Sequence[str]],
    before: Mapping[tuple[str, PortKey], Target],
) -> dict[tuple[str, PortKey], Target]:
    """An address for each linked port of each instance; `instances` has their ids by container, `before` what
    they had. Raises Invalid.
    """
    wanted = demands(descriptor)
    given: dict[tuple[str, PortKey], Target] = {}
    taken: set[tuple[str, int, str]] = set()
    for (name, port), demand in wanted.items():
        for id in instances[name]:
            target = before.get((id, port))
            if target is None or not (target.host and target.port and demand.met_by(target)):
                continue
            place = (target.host, target.port, port[1])
            if place not in taken:
                taken.add(place)
                given[id, port] = target
    walks: dict[tuple[str, PortKey, frozenset[int]], Iterator[Target]] = {}
    for (name, port), demand in wanted.items():
        # What was passed over is taken, and stays so: nobody needs to look there again, of no container.
        base = NON_LOCAL if demand.non_local else LOCAL
        places = walks.setdefault((base, port, frozenset(demand.ports)), _places(base, port[0], demand.ports))
        for id in instances[name]:
            if (id, port) not in given:
                given[id, port] = next(at for at in places if (at.host, at.port, port[1]) not in taken)
                taken.add((given[id, port].host, given[id, port].port, port[1]))
    return given


def _places(base: str, internal: int, ports: Iterable[int]) -> Iterator[Target]:
    if ports:
        (port,) = ports
        for host in _hosts(base):
            yield Target(host=host, port=port)
    else:
        number = internal
        while True:
            yield Target(host=base, port=number)
            number = number + 1 if number < 65_535 else AFTER_THE_LAST


def _hosts(base: str) -> Iterator[str]:
    """127.0.0.1, 127.0.0.2, …, 127.0.0.254, 127.0.1.1, …: none ends with 0 or 255."""
    first, second, third, _ = map(int, base.split("."))
    while True:
        for last in range(1, 255):
            yield f"{first}.{second}.{third}.{last}"
        third = third + 1 if third < 255 else 0
