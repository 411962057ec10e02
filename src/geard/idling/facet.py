"""What idling is to a gear: when it falls asleep by itself. The next look goes by it, without a restart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from geard.containers import asleep, versions
from geard.containers.folders import Folders
from geard.facet import Facet, Gear
from geard.host import Host
from geard.host.engine import RunSpec
from geard.host.storage import Changes
from geard.idling.policy import (
    LEAST,
    check_after,
    check_interfaces,
    check_sources,
    decide,
    describe_after,
    parse_span,
)
from geard.idling.requests import IdlePart, IdlePolicy
from geard.idling.settings import IdlingSettings
from geard.request import Asker
from geard.words import Part


class IdlingFacet(Facet[IdlePart]):
    part: ClassVar[type[Part] | None] = IdlePart

    def check(self, host: Host, asked: IdlePart, asker: Asker) -> None:
        check_after(asked.value.after or 0)
        parse_span(asked.value.asleep or "")
        check_sources(asked.value.wake_from or ())
        check_interfaces(asked.value.wake_interfaces or ())

    def amend(self, asked: IdlePart, before: IdlePart | None) -> IdlePart:
        was = before.value if before is not None else IdlePolicy()
        now = asked.value
        return IdlePart(
            value=msgspec.structs.replace(
                was,
                after=was.after if now.after is None else now.after,
                depth=now.depth or was.depth,
                asleep=was.asleep if now.asleep is None else now.asleep,
                wake_from=was.wake_from if now.wake_from is None else now.wake_from,
                wake_interfaces=was.wake_interfaces if now.wake_interfaces is None else now.wake_interfaces,
                wake_udp=was.wake_udp if now.wake_udp is None else now.wake_udp,
                wake_when=now.wake_when or was.wake_when,
            )
        )

    def settle(
        self, host: Host, changes: Changes, gear: Gear, asked: IdlePart | None, before: IdlePart | None
    ) -> IdlePart | None:
        return asked if asked is not None and asked.value != IdlePolicy() else None

    def lines(self, gear: Gear, settled: IdlePart | None) -> Sequence[tuple[str, str]]:
        if settled is None:
            return []
        lines = (
            (asleep.SOURCES, " ".join(_bounds(settled.value))),
            (asleep.UDP, "yes" if settled.value.wake_udp else ""),
            (asleep.WHEN, "ready" if settled.value.wake_when == "ready" else ""),
        )
        return [(name, value) for name, value in lines if value]

    def run(self, gear: Gear, settled: IdlePart | None, spec: RunSpec) -> RunSpec:
        if settled is None or settled.value.wake_when != "ready":
            return spec
        return dataclasses.replace(spec, says_ready=True)

    def show(self, host: Host, gear: Gear, settled: IdlePart | None) -> Sequence[tuple[str, str]]:
        definition = versions.current(Folders(host.paths, gear.id))
        machine = host.settings.section(IdlingSettings).machine(definition.slice if definition else "")
        asked = settled.value if settled is not None else IdlePolicy()
        after, depth = decide(msgspec.structs.replace(asked, asleep=""), machine, 0)
        span = machine.asleep if asked.asleep is None else asked.asleep
        rows: list[tuple[str, str]] = []
        if after:
            rows.append(("Falls asleep", f"after {describe_after(after)} without a connection ({depth})"))
        if parse_span(span):
            rows.append(("Falls asleep", f"{span}, after {describe_after(LEAST)} without a connection ({depth})"))
        section = host.settings.section(IdlingSettings)
        sources = section.wake_from if asked.wake_from is None else asked.wake_from
        interfaces = section.wake_interfaces if asked.wake_interfaces is None else asked.wake_interfaces
        if sources:
            rows.append(("Woken from", ", ".join(sources)))
        if interfaces:
            rows.append(("Woken through", ", ".join(interfaces)))
        if asked.wake_udp:
            rows.append(("Woken by", "connections, and datagrams to its UDP ports"))
        if asked.wake_when == "ready":
            rows.append(("Started", "when its program says that it is ready"))
        return rows


def _bounds(asked: IdlePolicy) -> Sequence[str]:
    """Networks; and interfaces, which have no slash. Who says `all` says it against the machine's settings too."""
    sources, interfaces = asked.wake_from, asked.wake_interfaces
    return (
        *(() if sources is None else check_sources(sources) or ("0.0.0.0/0", "::/0")),
        *(() if interfaces is None else check_interfaces(interfaces) or ("*",)),
    )


facet = IdlingFacet()
