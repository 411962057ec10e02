"""What is there of a deployment: what each host answered, and what was written down. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from geard.deployments.addresses import PortKey
from geard.deployments.descriptor import Descriptor, Target
from geard.deployments.requests import Deployed, DeployedGear
from geard.identifiers import parse_place

THIS_MACHINE = "local"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def host_name(text: str) -> str:
    """The one spelling of a host here; `local` is this machine. Raises Invalid."""
    return str(parse_place(text)) or THIS_MACHINE


def reached_as(on: str) -> str:
    """The name by which other machines reach a host: the locator's, without its port."""
    return "localhost" if on == THIS_MACHINE else parse_place(on).host


@dataclass(frozen=True)
class There:
    """What was found: what each host answered, and which did not."""

    hosts: Mapping[str, Deployed] = field(default_factory=dict[str, Deployed])
    silent: frozenset[str] = frozenset()


def address_of(on: str, there: There) -> str:
    """The same, or where that is a loopback's the address that the host itself says it has."""
    host = reached_as(on)
    local = on == THIS_MACHINE or host in _LOOPBACK
    return (there.hosts.get(on, Deployed()).address or host) if local else host


class Found:
    """The instances that are there or were written down, and where."""

    def __init__(self, descriptor: Descriptor, hosts: Sequence[str], there: There) -> None:
        known = {container.name for container in descriptor.containers}
        self.gears: dict[tuple[str, str], DeployedGear] = {}
        """by id and host"""
        self.container: dict[str, str] = {}
        self.host: dict[str, str] = {}
        """the host at which it stays, where that is one of those named"""
        self.was_on: dict[str, str] = {}
        self.targets: dict[tuple[str, PortKey], Target] = {}
        self.external: dict[tuple[str, PortKey], int] = {}
        for instance in descriptor.instances:
            if instance.on is None:
                continue
            on = host_name(instance.on)
            self.was_on.setdefault(instance.id, on)
            if instance.container in known:
                self.container.setdefault(instance.id, instance.container)
            if on in hosts:
                self.host.setdefault(instance.id, on)
            for port in instance.ports:
                key = (instance.id, (port.internal, port.protocol))
                self.external[key] = port.external
                if port.target is not None:
                    self.targets[key] = port.target
        for host in dict.fromkeys([*hosts, *there.hosts]):
            for gear in there.hosts.get(host, Deployed()).gears:
                self.gears[gear.id, host] = gear
                self.was_on.setdefault(gear.id, host)
                if gear.container in known:
                    self.container.setdefault(gear.id, gear.container)
                if host in hosts:
                    self.host.setdefault(gear.id, host)
        self._recover_targets()

    def _recover_targets(self) -> None:
        """An address that is written down nowhere is known to those that are linked to it."""
        led = {(link.to_host, link.to_port): link for gear in self.gears.values() for link in gear.links}
        for (id, host), gear in self.gears.items():
            for pair in gear.ports:
                link = led.get((reached_as(host), pair.external))
                key = (id, (pair.internal, str(pair.protocol)))
                if link is not None and key not in self.targets:
                    self.targets[key] = Target(host=link.from_host, port=link.from_port)
