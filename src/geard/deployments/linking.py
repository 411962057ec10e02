"""Which links the instances of a deployment have. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from geard.deployments.addresses import linked
from geard.deployments.descriptor import Descriptor, Instance
from geard.deployments.found import THIS_MACHINE, There, address_of, reached_as
from geard.links.requests import NetworkLink


def links_of(
    descriptor: Descriptor, instances: Sequence[Instance], there: There
) -> dict[str, tuple[NetworkLink, ...]]:
    """What each instance of a container is linked to, by container. A port that is not known yet is 0."""
    many = len({instance.on for instance in instances}) > 1
    by_container: dict[str, list[Instance]] = {container.name: [] for container in descriptor.containers}
    for instance in instances:
        by_container[instance.container].append(instance)
    found: dict[str, dict[str, NetworkLink]] = {container.name: {} for container in descriptor.containers}
    for source, _, target, ports in linked(descriptor):
        wanted = {(alias.internal, alias.protocol) for alias in ports}
        for instance in by_container[target.name]:
            on = instance.on or THIS_MACHINE
            # There is more than one machine, and to each of them a loopback's name is its own.
            host = address_of(on, there) if many else reached_as(on)
            for port in instance.ports:
                if (port.internal, port.protocol) in wanted and port.target is not None:
                    link = NetworkLink(
                        from_host=port.target.host,
                        from_port=port.target.port,
                        protocol=port.protocol,
                        to_host=host,
                        to_port=port.external,
                        alias=target.name,
                    )
                    found[source.name].setdefault(link.place, link)
    return {name: tuple(links.values()) for name, links in found.items()}


def own_links(links: Sequence[NetworkLink], instance: Instance, address: str) -> tuple[NetworkLink, ...]:
    """The links of one instance: to itself it does not go by the host's port, from where no packet of its own
    comes back to it, but to its own address.
    """
    own = {
        (port.target.host, port.target.port, port.protocol): port.internal
        for port in instance.ports
        if port.target is not None
    }
    if not own:
        return tuple(links)
    return tuple(
        msgspec.structs.replace(link, to_host=address, to_port=internal if address else 0)
        if (internal := own.get((link.from_host, link.from_port, link.protocol)))
        else link
        for link in links
    )
