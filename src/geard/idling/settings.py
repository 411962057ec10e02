"""What an admin settles for all gears of a machine: whether they fall asleep by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from geard.failures import Invalid
from geard.idling.policy import Machine, check_interfaces, check_sources, parse_after, parse_span
from geard.idling.requests import Depth
from geard.settings import Section


class IdlingSettings(Section):
    key: ClassVar[str] = "idling"
    after: str = "never"
    """without a connection, where a gear's install says nothing: 15m"""
    depth: Depth = "stop"
    """stop: its program ends; freeze: it stands still and keeps its memory"""

    asleep: str = "never"
    """a span of the day in which a minute without a connection is enough: 22:00-06:00"""
    slices: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    """in place of `after` for the gears of a slice"""
    wake_from: tuple[str, ...] = ()
    """networks whose connections wake a gear that says nothing else; empty: all"""
    wake_interfaces: tuple[str, ...] = ()
    """interfaces by which these have to come (eth0, wg*); empty: all"""
    ready: int = 100
    """for how many gears that are idle by `stop` the container is kept made: only its program has to begin then"""
    wakes_of_one: int = 30
    """how many gears one address may wake within a minute; 0: as many as it likes"""

    def machine(self, slice: str) -> Machine:
        """What holds for a gear of that slice which says nothing itself."""
        return Machine(parse_after(self.slices.get(slice, self.after)), self.depth, self.asleep)

    def check(self) -> None:
        for key, check, texts in (
            ("wake-from", check_sources, self.wake_from),
            ("wake-interfaces", check_interfaces, self.wake_interfaces),
        ):
            try:
                check(texts)
            except Invalid as error:
                raise Invalid(f"{key}: {error.message}", hint=error.hint) from None
        if self.ready < 0:
            raise Invalid(f"ready: {self.ready} is less than none", hint="0 keeps no container made")
        if self.wakes_of_one < 0:
            raise Invalid(f"wakes-of-one: {self.wakes_of_one} is less than none", hint="0 sets no bound")
        spans = [("asleep", self.asleep)]
        times = [("after", self.after), *((f"slices.{name}", after) for name, after in self.slices.items())]
        for rows, parse in ((spans, parse_span), (times, parse_after)):
            for key, text in rows:
                try:
                    parse(text)
                except Invalid as error:
                    raise Invalid(f"{key}: {error.message}", hint=error.hint) from None
