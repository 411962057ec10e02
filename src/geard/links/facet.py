"""What links are to a gear: a file beside its definition, led in its network namespace while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from geard.facet import Facet, Gear
from geard.failures import Unavailable
from geard.host import Host
from geard.host.storage import Changes
from geard.links import live, store
from geard.links.file import Link
from geard.links.forms import changed_links, check_links, describe
from geard.links.requests import ContainerLinks, NetworkLinks
from geard.links.waiting import check_waits
from geard.request import Asker
from geard.words import Part


class LinksFacet(Facet[NetworkLinks]):
    part: ClassVar[type[Part] | None] = NetworkLinks

    def check(self, host: Host, asked: NetworkLinks, asker: Asker) -> None:
        check_links(asked.value)

    def settle(
        self, host: Host, changes: Changes, gear: Gear, asked: NetworkLinks | None, before: NetworkLinks | None
    ) -> NetworkLinks | None:
        """Nothing of them is a version's; what would wait for itself is refused now."""
        if asked is not None:
            check_waits(host.paths, gear.id, _after(host, gear, asked))
        return None

    def carry_out(self, host: Host, changes: Changes, gear: Gear, asked: NetworkLinks) -> None:
        if store.keep(host.paths, changes, gear.id, _after(host, gear, asked)):
            with suppress(Unavailable):  # they are on record: the agent, or the next start, has them in force
                store.follow(host, gear.id)

    def show(self, host: Host, gear: Gear, settled: NetworkLinks | None) -> Sequence[tuple[str, str]]:
        links = store.load(host.paths, gear.id)
        return [("Links", describe(links))] if links else []

    def files(self, host: Host, gear: Gear) -> Sequence[Path]:
        return [store.path(host.paths, gear.id)]

    def repair(self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[NetworkLinks]) -> None:
        """A half-written file of a killed writer."""
        store.keep(host.paths, changes, gear.id, store.load(host.paths, gear.id))

    def release(
        self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[NetworkLinks], *, purge: bool
    ) -> None:
        store.keep(host.paths, changes, gear.id, ())
        live.forget(store.place(host.paths, gear.id), host.rules.load)


def _after(host: Host, gear: Gear, asked: NetworkLinks) -> tuple[Link, ...]:
    now = store.load(host.paths, gear.id)
    return changed_links(now, ContainerLinks(id=gear.id, network_links=asked.value))


facet = LinksFacet()
