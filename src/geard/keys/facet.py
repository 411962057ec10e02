"""What keys are to a gear: who may log in. Gone with it: one of its name made later is opened by nobody."""

from __future__ import annotations

from collections.abc import Sequence

from geard.facet import Facet, Gear
from geard.host import Host
from geard.host.storage import Changes
from geard.keys import store
from geard.words import Part


class KeysFacet(Facet[Part]):
    def show(self, host: Host, gear: Gear, settled: Part | None) -> Sequence[tuple[str, str]]:
        found = store.count(host.paths, gear.id)
        return [("Keys", f"{found}; gear list-keys {gear.id} shows them")] if found else []

    def remains(self, host: Host, gear: Gear) -> bool:
        return store.gear_folder(host.paths, gear.id).is_dir()

    def release(self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[Part], *, purge: bool) -> None:
        store.forget_gear(host.paths, changes, gear.id)


facet = KeysFacet()
