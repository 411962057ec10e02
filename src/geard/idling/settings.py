"""What an admin settles for all gears of a machine: whether they fall asleep by themselves."""

from __future__ import annotations

from typing import ClassVar

from geard.failures import Invalid
from geard.idling.policy import parse_after
from geard.idling.requests import Depth
from geard.settings import Section


class IdlingSettings(Section):
    key: ClassVar[str] = "idling"
    after: str = "never"
    """without a connection, where a gear's install says nothing: 15m"""
    depth: Depth = "stop"
    """stop: its program ends; freeze: it stands still and keeps its memory"""

    @property
    def seconds(self) -> int:
        return parse_after(self.after)

    def check(self) -> None:
        try:
            _ = self.seconds
        except Invalid as error:
            raise Invalid(f"after: {error.message}", hint=error.hint) from None
