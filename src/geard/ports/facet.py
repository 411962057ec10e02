"""What ports are to a gear: reserved when it is installed, published when it runs, given back with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import msgspec

from geard.facet import Facet, Gear
from geard.host import Host
from geard.host.engine import Image, Publish, RunSpec
from geard.host.storage import Changes
from geard.ports.pairs import check_pairs, describe_mapping
from geard.ports.requests import PortPair, PublishedPorts
from geard.ports.reservations import allocate, held_by, keep_from_clients, release, reserve
from geard.request import Asker
from geard.words import Part


class PortsFacet(Facet[PublishedPorts]):
    part: ClassVar[type[Part]] = PublishedPorts

    def check(self, asked: PublishedPorts, asker: Asker) -> None:
        check_pairs(asked.value)

    def settle(
        self,
        host: Host,
        changes: Changes,
        gear: Gear,
        asked: PublishedPorts | None,
        before: PublishedPorts | None,
    ) -> PublishedPorts | None:
        old = before.value if before is not None else ()
        if asked is None:
            # The image decides which are published; each keeps the host port it had.
            kept = tuple(msgspec.structs.replace(pair, exposed=True) for pair in old)
            return PublishedPorts(value=kept) if kept else None
        return PublishedPorts(value=_claim(host, changes, gear, asked.value, old))

    def complete(
        self, host: Host, changes: Changes, gear: Gear, settled: PublishedPorts | None, image: Image
    ) -> PublishedPorts | None:
        if settled is not None and not all(pair.exposed for pair in settled.value):
            return settled
        if settled is not None and not settled.value:
            return settled
        wanted = tuple(PortPair(internal=port, protocol=protocol, exposed=True) for port, protocol in image.ports)
        if not wanted:
            return None
        return PublishedPorts(value=_claim(host, changes, gear, wanted, settled.value if settled else ()))

    def run(self, gear: Gear, settled: PublishedPorts | None, spec: RunSpec) -> RunSpec:
        pairs = settled.value if settled is not None else ()
        published = tuple(Publish(pair.internal, pair.external, pair.protocol) for pair in pairs)
        return replace(spec, publish=spec.publish + published)

    def metadata(self, settled: PublishedPorts | None) -> Sequence[tuple[str, str]]:
        pairs = settled.value if settled is not None else ()
        exposed = [("X-PortExposed", f"{pair.internal}/{pair.protocol}") for pair in pairs if pair.exposed]
        return [("X-PortMapping", str(pair)) for pair in pairs] + exposed

    def show(self, host: Host, gear: Gear, settled: PublishedPorts | None) -> Sequence[tuple[str, str]]:
        return [("Ports", describe_mapping(settled.value) if settled is not None and settled.value else "none")]

    def tidy(
        self,
        host: Host,
        changes: Changes,
        gear: Gear,
        current: PublishedPorts | None,
        earlier: Sequence[PublishedPorts],
    ) -> None:
        kept = {(p.external, p.protocol) for p in (current.value if current is not None else ())}
        for part in earlier:
            for pair in part.value:
                if (pair.external, pair.protocol) not in kept:
                    release(host.paths, changes, pair.external, pair.protocol, gear.unit)

    def forget(
        self,
        host: Host,
        changes: Changes,
        gear: Gear,
        gone: Sequence[PublishedPorts],
        kept: Sequence[PublishedPorts],
    ) -> None:
        known = {(pair.external, pair.protocol) for part in kept for pair in part.value}
        for pair in (pair for part in gone for pair in part.value):
            if (pair.external, pair.protocol) not in known:
                release(host.paths, changes, pair.external, pair.protocol, gear.unit)

    def repair(self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[PublishedPorts]) -> None:
        known = {(pair.external, pair.protocol) for part in recorded for pair in part.value}
        for port, protocol in list(held_by(host.paths, gear.unit)):
            if (port, protocol) not in known:
                release(host.paths, changes, port, protocol, gear.unit)

    def release(
        self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[PublishedPorts], *, purge: bool
    ) -> None:
        self.tidy(host, changes, gear, None, recorded)


def _claim(
    host: Host, changes: Changes, gear: Gear, wanted: Sequence[PortPair], old: Sequence[PortPair]
) -> tuple[PortPair, ...]:
    """Reserve every wanted pair; one that asks for any free port keeps the one it had. All or none."""
    had = {(pair.internal, pair.protocol): pair.external for pair in old}
    owned = {(pair.external, pair.protocol) for pair in old}
    claimed: list[PortPair] = []
    try:
        for pair in wanted:
            external = pair.external or had.get((pair.internal, pair.protocol), 0)
            if external:
                reserve(host.paths, changes, external, pair.protocol, gear.unit)
            else:
                external = allocate(host.paths, changes, pair.protocol, gear.unit)
            claimed.append(msgspec.structs.replace(pair, external=external))
    except BaseException:
        for pair in claimed:
            if (pair.external, pair.protocol) not in owned:
                release(host.paths, changes, pair.external, pair.protocol, gear.unit)
        raise
    keep_from_clients([pair.external for pair in claimed])
    return tuple(claimed)


facet = PortsFacet()
