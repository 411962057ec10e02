"""Which host an instance goes to. Pure: the same board and the same question give the same answer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from geard.deployments.descriptor import Affinity, Container
from geard.failures import PreconditionFailed
from geard.identifiers import parse_place

PortNumber = tuple[int, str]


@dataclass(frozen=True)
class Room:
    """What a host has for gears. 0 bytes of memory: it does not say."""

    memory: int = 0
    promised: int = 0
    """bytes that gears of others were given by their limits"""
    ports: dict[PortNumber, str] = field(default_factory=dict[PortNumber, str])
    """host ports that gears have which are none of this deployment's, and whose"""


@dataclass(frozen=True)
class Need:
    """An instance looking for a host."""

    container: str
    affinity: Affinity
    memory: int = 0
    """bytes; only what the descriptor says aloud is held against a host's memory"""
    ports: tuple[PortNumber, ...] = ()
    """host ports given by number"""


def fixed_ports(container: Container) -> tuple[PortNumber, ...]:
    return tuple((port.external, port.protocol) for port in container.public_ports if port.external)


class Board:
    """Who is where, while a plan is made. Hosts are in the order in which they were named."""

    def __init__(self, rooms: dict[str, Room]) -> None:
        self._rooms = rooms
        self._order = {host: number for number, host in enumerate(rooms)}
        self._of: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._all: Counter[str] = Counter()
        self._promised = Counter({host: room.promised for host, room in rooms.items()})
        self._ports: dict[tuple[str, PortNumber], str] = {}

    def put(self, need: Need, host: str, id: str) -> None:
        self._of[need.container][host] += 1
        self._all[host] += 1
        self._promised[host] += need.memory
        for port in need.ports:
            self._ports[host, port] = id

    def choose(self, need: Need, id: str) -> str:
        """The host for one more. Raises PreconditionFailed where none will do, with each one's reason."""
        why = {host: self.objection(need, host) for host in self._rooms}
        fit = [host for host, reason in why.items() if not reason]
        if not fit:
            reasons = "; ".join(
                dict.fromkeys(f"{host or 'this machine'}: {reason}" for host, reason in why.items())
            )
            raise PreconditionFailed(
                f"there is no host for {id}" + (f" ({reasons})" if reasons else ""),
                hint="name more hosts, or change the Affinity, ports or limits of " + need.container,
            )
        of, all = self._of[need.container], self._all
        if need.affinity.pack:
            return min(fit, key=lambda host: (-all[host], self._order[host]))
        return min(fit, key=lambda host: (of[host], all[host], self._order[host]))

    def objection(self, need: Need, host: str, *, staying: bool = False) -> str:
        """Why an instance cannot be on a host; empty where it can. One that is there has its memory already."""
        if need.affinity.host and need.affinity.host not in (host, parse_place(host).host):
            return f"its Affinity is host={need.affinity.host}"
        for other in need.affinity.not_with:
            # not-with=itself: one on each host
            if self._of[other][host]:
                return f"its Affinity is not-with={other}"
        room = self._rooms[host]
        for port in need.ports:
            owner = self._ports.get((host, port)) or room.ports.get(port)
            if owner:
                return f"{owner} has port {port[0]}/{port[1]}"
        if not staying and room.memory and need.memory and self._promised[host] + need.memory > room.memory:
            left = max(0, room.memory - self._promised[host]) // 1_048_576
            return f"{left}M of memory left, {need.memory // 1_048_576}M needed"
        return ""


def lowest_free(prefix: str, taken: Iterable[str]) -> Iterable[str]:
    """prefix-1, prefix-2, … without those that are taken."""
    known, number = set(taken), 0
    while True:
        number += 1
        if (name := f"{prefix}-{number}") not in known:
            yield name
