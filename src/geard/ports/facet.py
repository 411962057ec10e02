"""What ports are to a gear: reserved when it is installed, published when it runs, given back with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from msgspec.structs import replace

from geard.facet import Facet, Gear
from geard.failures import AlreadyExists
from geard.host import Host
from geard.host.engine import Image, Publish, RunSpec
from geard.host.storage import Changes
from geard.ports import live
from geard.ports.pairs import check_pairs, describe_mapping, parse_address, parse_pairs
from geard.ports.requests import PortPair, PublishedPorts
from geard.ports.reservations import allocate, check_free, held_by, keep_from_clients, release, reserve
from geard.ports.settings import PortSettings
from geard.request import Asker
from geard.words import Part


class PortsFacet(Facet[PublishedPorts]):
    part: ClassVar[type[Part] | None] = PublishedPorts

    def check(self, host: Host, asked: PublishedPorts, asker: Asker) -> None:
        check_pairs(asked.value)

    async def fetch(self, host: Host, asked: PublishedPorts) -> PublishedPorts:
        default = _default_address(host)
        pairs = (replace(pair, address=_placed(pair.address, default)) for pair in asked.value)
        return PublishedPorts(value=tuple(pairs))

    def settle(
        self,
        host: Host,
        changes: Changes,
        gear: Gear,
        asked: PublishedPorts | None,
        before: PublishedPorts | None,
    ) -> PublishedPorts | None:
        old = _values(before)
        if asked is None:
            # The image decides which are published; each keeps the host port it had.
            kept = tuple(replace(pair, exposed=True) for pair in old)
            return PublishedPorts(value=kept) if kept else None
        return PublishedPorts(value=_claim(host, changes, gear, asked.value, old))

    def complete(
        self, host: Host, changes: Changes, gear: Gear, settled: PublishedPorts | None, image: Image
    ) -> PublishedPorts | None:
        """What follows the image follows it; what was asked for stays, and goes before it."""
        old = _values(settled)
        asked = tuple(pair for pair in old if not pair.exposed)
        if settled is not None and len(asked) == len(old):
            return settled
        known = {(pair.internal, pair.protocol) for pair in asked}
        there = {(pair.internal, pair.protocol): pair.address for pair in old}
        default = _default_address(host)
        wanted = asked + tuple(
            PortPair(internal=port, protocol=protocol, address=there.get((port, protocol), default), exposed=True)
            for port, protocol in image.ports
            if (port, protocol) not in known
        )
        return PublishedPorts(value=_claim(host, changes, gear, wanted, old)) if wanted else None

    def run(self, gear: Gear, settled: PublishedPorts | None, spec: RunSpec) -> RunSpec:
        pairs = _values(settled)
        published = tuple(Publish(pair.internal, pair.external, pair.protocol, pair.address) for pair in pairs)
        return dataclasses.replace(spec, publish=spec.publish + published)

    def metadata(self, settled: PublishedPorts | None) -> Sequence[tuple[str, str]]:
        pairs = _values(settled)
        exposed = [("X-PortExposed", f"{pair.internal}/{pair.protocol}") for pair in pairs if pair.exposed]
        return [("X-PortMapping", str(pair)) for pair in pairs] + exposed

    def show(self, host: Host, gear: Gear, settled: PublishedPorts | None) -> Sequence[tuple[str, str]]:
        return [("Ports", describe_mapping(_values(settled)) or "none")]

    def adapt(
        self,
        host: Host,
        gear: Gear,
        addresses: tuple[str, str],
        running: PublishedPorts | None,
        now: PublishedPorts | None,
    ) -> bool:
        run, name = str(host.paths.run), gear.state.name
        container = live.container(run, name)
        if not container or not addresses[0]:
            return False
        before = live.read(run, name)
        engine = _pairs(before) if before is not None else _values(running)
        wanted = _values(now)
        there, then = {str(pair) for pair in engine}, {str(pair) for pair in wanted}
        ipv4, ipv6 = addresses
        remapped = live.Remapped(
            container,
            tuple(str(pair) for pair in engine),
            tuple((pair.protocol, pair.external) for pair in engine if str(pair) not in then),
            tuple(
                live.Lead(p.protocol, p.external, p.internal, ipv4, ipv6 or "-", p.address or "*")
                for p in wanted
                if str(p) not in there
            ),
        )
        differs = bool(remapped.withdrawn or remapped.leads)
        if differs:
            host.rules.lead_loopback_to_gears()
        if differs or before is not None:
            live.change(run, name, remapped if differs else None, host.rules.load)
        return not differs or live.read(run, name) == remapped

    def tidy(
        self,
        host: Host,
        changes: Changes,
        gear: Gear,
        current: PublishedPorts | None,
        earlier: Sequence[PublishedPorts],
    ) -> None:
        self.forget(host, changes, gear, earlier, [current] if current is not None else [])

    def forget(
        self,
        host: Host,
        changes: Changes,
        gear: Gear,
        gone: Sequence[PublishedPorts],
        kept: Sequence[PublishedPorts],
    ) -> None:
        known = _recorded(kept) | _published_by_engine(host, gear)
        for port, protocol in _recorded(gone) - known:
            release(host.paths, changes, port, protocol, gear.unit)

    def repair(self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[PublishedPorts]) -> None:
        known = _recorded(recorded) | _published_by_engine(host, gear)
        for port, protocol in set(held_by(host.paths, gear.unit)) - known:
            release(host.paths, changes, port, protocol, gear.unit)

    def release(
        self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[PublishedPorts], *, purge: bool
    ) -> None:
        held = _recorded(recorded) | _published_by_engine(host, gear)
        if live.read(str(host.paths.run), gear.state.name) is not None:
            live.change(str(host.paths.run), gear.state.name, None, host.rules.load)
        for port, protocol in held:
            release(host.paths, changes, port, protocol, gear.unit)


def _default_address(host: Host) -> str:
    return _placed(host.settings.section(PortSettings).publish, "")


def _placed(address: str, default: str) -> str:
    """The address that is recorded for what was asked; empty for all."""
    found = parse_address(address or default)
    return "" if found == "*" else found


def _values(part: PublishedPorts | None) -> tuple[PortPair, ...]:
    return part.value if part is not None else ()


def _recorded(parts: Sequence[PublishedPorts]) -> set[tuple[int, str]]:
    return {(pair.external, pair.protocol) for part in parts for pair in part.value}


def _pairs(remapped: live.Remapped) -> tuple[PortPair, ...]:
    return parse_pairs(remapped.engine) or ()


def _published_by_engine(host: Host, gear: Gear) -> set[tuple[int, str]]:
    """Ports that were withdrawn from a gear that runs: the engine holds them until it ends."""
    remapped = live.read(str(host.paths.run), gear.state.name)
    return {(pair.external, pair.protocol) for pair in _pairs(remapped)} if remapped is not None else set()


def _claim(
    host: Host, changes: Changes, gear: Gear, wanted: Sequence[PortPair], old: Sequence[PortPair]
) -> tuple[PortPair, ...]:
    """Reserve every wanted pair; one that asks for any free port keeps the one it had. All or none: where one
    cannot be had, what this very call has reserved is given back, and nothing else.
    """
    had = {(pair.internal, pair.protocol): pair for pair in old}
    claimed: dict[tuple[int, str], PortPair] = {}
    named = {(pair.external, pair.protocol) for pair in wanted}
    new: list[tuple[int, str]] = []
    span = host.settings.section(PortSettings).numbers

    def claim(external: int, protocol: str, address: str) -> int:
        if reserve(host.paths, changes, external, protocol, gear.unit):
            try:
                check_free(external, protocol, address)
            except BaseException:
                release(host.paths, changes, external, protocol, gear.unit)
                raise
            new.append((external, protocol))
        return external

    try:
        # Those that are asked for by number first: no free port that is looked for may be one of them.
        for pair in sorted(wanted, key=lambda pair: pair.external == 0):
            key = (pair.internal, pair.protocol)
            before = had.get(key, pair)
            external = 0
            if pair.external:
                external = claim(pair.external, pair.protocol, pair.address)
            elif before.external and (before.external, pair.protocol) not in named:
                with suppress(AlreadyExists):  # somebody has removed its reservation by hand
                    external = claim(before.external, pair.protocol, pair.address)
            if not external:
                external = allocate(host.paths, changes, pair.protocol, gear.unit, span)
                new.append((external, pair.protocol))
            claimed[key] = replace(pair, external=external)
    except BaseException:
        for port, protocol in new:
            release(host.paths, changes, port, protocol, gear.unit)
        raise
    keep_from_clients(host.paths, [pair.external for pair in claimed.values()])
    return tuple(claimed[pair.internal, pair.protocol] for pair in wanted)


facet = PortsFacet()
