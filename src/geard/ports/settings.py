"""What an admin settles for the ports of all gears of a machine."""

from __future__ import annotations

import re
from typing import ClassVar

from geard.failures import Invalid
from geard.ports.pairs import parse_address
from geard.settings import Section

Numbers = range  # which the class below calls something else
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)


class PortSettings(Section):
    key: ClassVar[str] = "ports"
    publish: str = ""
    """the host's address that ports are published on where none is asked for; empty for all"""
    range: str = "4000-59999"
    """where free ports are taken from; never the agent's own"""

    @property
    def numbers(self) -> Numbers:
        found = _RANGE.fullmatch(self.range)
        first, last = (int(found[1]), int(found[2])) if found is not None else (0, 0)
        if not 1 <= first <= last <= 65_535:
            raise Invalid(f"range: {self.range!r} is no range of ports", hint="such as 4000-59999")
        return Numbers(first, last + 1)

    def check(self) -> None:
        _ = self.numbers
        try:
            parse_address(self.publish)
        except Invalid as error:
            raise Invalid(f"publish: {error.message}", hint=error.hint) from None
