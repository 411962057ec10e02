"""From a descriptor, hosts, and what is there, to what there shall be. Pure: nothing is asked of anybody.

An instance keeps its name, its host and its address for as long as the descriptor lets it. New ones take the
lowest free numbers; of too many the highest go.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from geard.containers.requests import InstallContainer, Limits
from geard.containers.sizes import parse_size
from geard.containers.volumes import parse_volumes
from geard.containers.wishes import check_wish
from geard.deployments.addresses import PortKey, give_addresses
from geard.deployments.descriptor import (
    Container,
    Descriptor,
    Instance,
    InstancePort,
    Leaving,
    Target,
    parse_affinity,
)
from geard.deployments.differences import differences, link_differences
from geard.deployments.found import THIS_MACHINE, Found, There, host_name
from geard.deployments.linking import links_of, own_links
from geard.deployments.placement import Board, Need, Room, fixed_ports, lowest_free
from geard.deployments.requests import CONTAINER, DEPLOYMENT, Deployed, DeployedGear
from geard.environments.requests import Environment, EnvironmentPart, Variable
from geard.failures import AlreadyExists, Invalid
from geard.links.forms import LIMIT
from geard.links.requests import NetworkLink
from geard.ports.requests import PortPair, PublishedPorts
from geard.request import ROOT_HERE
from geard.secrets.requests import SecretsPart
from geard.words import Part


@dataclass(frozen=True)
class Planned:
    """One gear that there shall be."""

    instance: Instance
    on: str
    install: InstallContainer
    links: tuple[NetworkLink, ...] = ()
    before: DeployedGear | None = None
    """as it is there, on that host"""
    lines: tuple[str, ...] = ()
    """what is to be different"""
    relinked: tuple[str, ...] = ()
    """which of its links are"""
    moved_from: str = ""
    adopted: bool = False
    """a gear of that name is there that was no part of the deployment"""
    frozen: bool = False
    """its host does not answer: it stays what it is"""

    @property
    def id(self) -> str:
        return self.instance.id

    @property
    def added(self) -> bool:
        return self.before is None and not self.frozen

    @property
    def changed(self) -> bool:
        return self.before is not None and bool(self.lines)

    @property
    def comes_up(self) -> bool:
        """It does not run now: nobody is to be led to it before it does."""
        return self.added or (self.before is not None and not self.before.runs)


@dataclass(frozen=True)
class Removal:
    id: str
    on: str
    before: DeployedGear | None = None
    first: bool = False
    """it has a host port that another is to get there"""
    moved: bool = False
    """a gear of that name runs elsewhere by then"""


@dataclass(frozen=True)
class Plan:
    descriptor: Descriptor
    """with the instances as they shall be"""
    hosts: tuple[str, ...]
    gears: tuple[Planned, ...]
    removed: tuple[Removal, ...]
    postponed: tuple[Leaving, ...]
    """to be removed from hosts that do not answer"""
    fingerprint: str
    """of the descriptor, the hosts, and what was found there"""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.descriptor.name

    @property
    def empty(self) -> bool:
        """Whether all is as it shall be."""
        return not self.removed and not any(gear.added or gear.changed or gear.relinked for gear in self.gears)


Variables = Mapping[str, Mapping[str, str]]
"""what each container's env files say"""


def plan_deployment(
    descriptor: Descriptor,
    hosts: Sequence[str],
    there: There | None = None,
    *,
    variables: Variables | None = None,
    adopt: bool = False,
) -> Plan:
    """`descriptor` has the deployment's name, and the instances as they were last written down.

    Raises Invalid where it contradicts itself, AlreadyExists where a gear of another's has a name that is needed
    (unless `adopt`), PreconditionFailed where no host will do.
    """
    there = there or There()
    names = tuple(dict.fromkeys(host_name(host) for host in hosts))
    found = Found(descriptor, names, there)
    nobody: dict[str, list[str]] = {container.name: [] for container in descriptor.containers}
    ids = _choose_ids(descriptor, found) if names else nobody
    placed = _place(descriptor, names, ids, found, there)
    addresses = give_addresses(descriptor, ids, found.targets)
    instances = tuple(
        _instance(container, id, placed[id], addresses, found, there)
        for container in descriptor.containers
        for id in ids[container.name]
    )
    links = links_of(descriptor, instances, there)
    for name, each in links.items():
        if len(each) > LIMIT:
            raise Invalid(
                f"each {name} would have {len(each)} links, and a gear has {LIMIT} at most",
                hint="a smaller Count of what it links to, or Ports in its Links that leave some out",
            )
    gears = tuple(
        _planned(descriptor, instance, links, found, there, variables or {}, adopt=adopt) for instance in instances
    )
    removed = _removed(gears, found, there)
    return Plan(
        descriptor=msgspec.structs.replace(descriptor, instances=instances, leaving=()),
        hosts=names,
        gears=gears,
        removed=removed,
        postponed=_postponed(gears, descriptor, there),
        fingerprint=_fingerprint(descriptor, names, there, variables or {}),
        notes=_notes(descriptor, there, variables or {}),
    )


def _choose_ids(descriptor: Descriptor, found: Found) -> dict[str, list[str]]:
    """Who there shall be, by container, in the order of their numbers."""
    chosen: dict[str, list[str]] = {}
    taken = set(found.container)
    for container in descriptor.containers:
        count = container.count or 0
        known = sorted((id for id, name in found.container.items() if name == container.name), key=_number)
        free = iter(lowest_free(descriptor.id_prefix + container.name, taken))
        kept = known[:count]
        while len(kept) < count:
            id = next(free)
            if descriptor.randomize_ids:
                seed = f"{descriptor.name} {id}"
                id = f"{descriptor.id_prefix}{container.name}-{hashlib.sha256(seed.encode()).hexdigest()[:8]}"
                if id in taken:
                    continue
            taken.add(id)
            kept.append(id)
        chosen[container.name] = sorted(kept, key=_number)
    return chosen


def _number(id: str) -> tuple[int, str]:
    end = re.search(r"-([0-9]{1,9})$", id)
    return (int(end[1]) if end else 0, id)


def _place(
    descriptor: Descriptor,
    hosts: Sequence[str],
    ids: Mapping[str, Sequence[str]],
    found: Found,
    there: There,
) -> dict[str, str]:
    """The host of each instance: first those that stay, then, one by one, those that need one."""
    board = Board({host: _room(there.hosts.get(host)) for host in hosts if host not in there.silent})
    needs = {container.name: need_of(descriptor, container) for container in descriptor.containers}
    placed: dict[str, str] = {}
    waiting: list[tuple[Need, str]] = []
    for container in descriptor.containers:
        need = needs[container.name]
        for id in ids[container.name]:
            host = found.host.get(id)
            stays = host is not None and (host in there.silent or not board.objection(need, host, staying=True))
            if host is not None and stays:
                board.put(need, host, id)
                placed[id] = host
            else:
                waiting.append((need, id))
    for need, id in waiting:
        placed[id] = board.choose(need, id)
        board.put(need, placed[id], id)
    return placed


def need_of(descriptor: Descriptor, container: Container) -> Need:
    names = [each.name for each in descriptor.containers]
    affinity = parse_affinity(container, names)
    # Who must not be with whom holds for both, whichever is placed first.
    shunned = [
        each.name for each in descriptor.containers if container.name in parse_affinity(each, names).not_with
    ]
    affinity = msgspec.structs.replace(affinity, not_with=tuple(dict.fromkeys([*affinity.not_with, *shunned])))
    return Need(container.name, affinity, _memory(container) or 0, fixed_ports(container))


def _room(found: Deployed | None) -> Room:
    if found is None:
        return Room()
    ports = {(pair.external, str(pair.protocol)): other.id for other in found.others for pair in other.ports}
    return Room(found.memory, sum(other.memory for other in found.others), ports)


def _memory(container: Container) -> int | None:
    return _size(container.limits.memory)


def _size(said: int | str | None) -> int | None:
    return parse_size(said) if isinstance(said, str) else said


def _instance(
    container: Container,
    id: str,
    on: str,
    addresses: Mapping[tuple[str, PortKey], Target],
    found: Found,
    there: There,
) -> Instance:
    ports: list[InstancePort] = []
    gear = found.gears.get((id, on))
    known: dict[PortKey, int] = {}
    if gear is not None:
        known = {(pair.internal, str(pair.protocol)): pair.external for pair in gear.ports}
    elif on in there.silent:
        known = {port: number for (name, port), number in found.external.items() if name == id}
    for port in container.public_ports:
        key = (port.internal, port.protocol)
        ports.append(
            InstancePort(
                internal=port.internal,
                external=port.external or known.get(key, 0),
                protocol=port.protocol,
                target=addresses.get((id, key)),
            )
        )
    return Instance(id=id, image=container.image, container=container.name, on=on, ports=tuple(ports))


def _planned(
    descriptor: Descriptor,
    instance: Instance,
    links: Mapping[str, tuple[NetworkLink, ...]],
    found: Found,
    there: There,
    variables: Variables,
    *,
    adopt: bool,
) -> Planned:
    container = next(each for each in descriptor.containers if each.name == instance.container)
    on = instance.on or THIS_MACHINE
    install = install_of(descriptor, container, instance.id, variables.get(container.name, {}))
    before = found.gears.get((instance.id, on))
    own = own_links(links[container.name], instance, before.address if before is not None else "")
    if on in there.silent:
        return Planned(instance, on, install, own, frozen=True)
    other = next((o for o in there.hosts.get(on, Deployed()).others if o.id == instance.id), None)
    if before is None and other is not None and not adopt:
        whose = f"part of deployment {other.deployment}" if other.deployment else "part of no deployment"
        raise AlreadyExists(
            f"{instance.id} on {on} is there already, and is {whose}",
            hint="--adopt takes it over; an IdPrefix gives this deployment's gears other names",
        )
    was_on = found.was_on.get(instance.id, on)
    lines = differences(before, install) if before is not None else ()
    relinked = link_differences(before.links if before is not None else (), own)
    moved_from = was_on if before is None and was_on != on else ""
    adopted = before is None and other is not None
    return Planned(instance, on, install, own, before, lines, relinked, moved_from, adopted)


def install_of(
    descriptor: Descriptor, container: Container, id: str, from_files: Mapping[str, str]
) -> InstallContainer:
    """The install that makes an instance what its container says. Raises Invalid."""
    pairs = tuple(
        PortPair(internal=port.internal, external=port.external, protocol=port.protocol, address=port.address)
        for port in container.public_ports
    )
    values = {**from_files, **{variable.name: variable.value for variable in container.environment}}
    given = tuple(Variable(name=name, value=value) for name, value in values.items())
    parts: list[Part] = [PublishedPorts(value=pairs)]
    if given:
        parts.append(EnvironmentPart(value=Environment(id=id, variables=given)))
    if container.secrets:
        parts.append(SecretsPart(value=container.secrets))
    limits = Limits(
        memory=_memory(container),
        memory_swap=_size(container.limits.memory_swap),
        cpus=container.limits.cpus,
        pids=container.limits.pids,
    )
    wish = InstallContainer(
        id=id,
        image=container.image,
        engine=container.engine,
        started=True,
        simple=container.simple,
        host_user=container.host_user,
        command=container.command,
        entrypoint=container.entrypoint,
        volume_config=parse_volumes(container.volumes),
        systemd_slice=container.slice,
        restart=container.restart,
        limits=limits,
        labels={**container.labels, DEPLOYMENT: descriptor.name, CONTAINER: container.name},
        stop_timeout=container.stop_timeout,
        parts=tuple(parts),
    )
    try:
        check_wish(wish, ROOT_HERE)
    except Invalid as failure:
        raise Invalid(f"{container.name}: {failure.message}", hint=failure.hint) from None
    return wish


def _removed(gears: Sequence[Planned], found: Found, there: There) -> tuple[Removal, ...]:
    staying = {(gear.id, gear.on) for gear in gears}
    elsewhere = {gear.id for gear in gears}
    wanted_ports = {
        (gear.on, pair.external, pair.protocol)
        for gear in gears
        if gear.added or gear.changed
        for part in gear.install.parts
        if isinstance(part, PublishedPorts)
        for pair in part.value
        if pair.external
    }
    return tuple(
        Removal(
            id,
            host,
            gear,
            first=any((host, pair.external, pair.protocol) in wanted_ports for pair in gear.ports),
            moved=id in elsewhere,
        )
        for (id, host), gear in found.gears.items()
        if (id, host) not in staying and host in there.hosts
    )


def _postponed(gears: Iterable[Planned], descriptor: Descriptor, there: There) -> tuple[Leaving, ...]:
    staying = {(gear.id, gear.on) for gear in gears}
    were = [(i.id, host_name(i.on)) for i in descriptor.instances if i.on is not None]
    were += [(leaving.id, host_name(leaving.on)) for leaving in descriptor.leaving]
    return tuple(
        Leaving(id=id, on=on) for id, on in dict.fromkeys(were) if on in there.silent and (id, on) not in staying
    )


def _fingerprint(descriptor: Descriptor, hosts: Sequence[str], there: There, variables: Variables) -> str:
    """Of all that a plan depends on. What systemd says of a gear at the moment is no part of it."""
    steady = {
        host: [msgspec.structs.replace(gear, active="") for gear in found.gears]
        for host, found in sorted(there.hosts.items())
    }
    plain = msgspec.structs.replace(descriptor, unfinished="")
    text = msgspec.json.encode([plain, hosts, steady, sorted(there.silent), variables], order="deterministic")
    return hashlib.sha256(text).hexdigest()[:12]


def _notes(descriptor: Descriptor, there: There, variables: Variables) -> tuple[str, ...]:
    notes = [f"{c.name} has no Count: there will be none" for c in descriptor.containers if c.count is None]
    notes += [f"{host} does not answer: what is there stays as it is" for host in sorted(there.silent)]
    return tuple(notes)
