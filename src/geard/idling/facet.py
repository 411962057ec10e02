"""What idling is to a gear: when it falls asleep by itself. The next look goes by it, without a restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from geard.facet import Facet, Gear
from geard.host import Host
from geard.host.storage import Changes
from geard.idling.policy import check_after, decide, describe_after
from geard.idling.requests import IdlePart, IdlePolicy
from geard.idling.settings import IdlingSettings
from geard.request import Asker
from geard.words import Part


class IdlingFacet(Facet[IdlePart]):
    part: ClassVar[type[Part] | None] = IdlePart

    def check(self, host: Host, asked: IdlePart, asker: Asker) -> None:
        check_after(asked.value.after or 0)

    def amend(self, asked: IdlePart, before: IdlePart | None) -> IdlePart:
        was = before.value if before is not None else IdlePolicy()
        now = asked.value
        return IdlePart(
            value=msgspec.structs.replace(
                was, after=was.after if now.after is None else now.after, depth=now.depth or was.depth
            )
        )

    def settle(
        self, host: Host, changes: Changes, gear: Gear, asked: IdlePart | None, before: IdlePart | None
    ) -> IdlePart | None:
        return asked if asked is not None and asked.value != IdlePolicy() else None

    def show(self, host: Host, gear: Gear, settled: IdlePart | None) -> Sequence[tuple[str, str]]:
        machine = host.settings.section(IdlingSettings)
        asked = settled.value if settled is not None else IdlePolicy()
        after, depth = decide(asked, machine.seconds, machine.depth)
        if not after:
            return []
        return [("Falls asleep", f"after {describe_after(after)} without a connection ({depth})")]


facet = IdlingFacet()
