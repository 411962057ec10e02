"""A packet filter that remembers what it was given last."""

from __future__ import annotations

from geard.failures import Unavailable
from geard.host.rules import Rules


class FakeRules(Rules):
    def __init__(self) -> None:
        self.loaded = ""
        self.broken = ""
        """not empty: the kernel takes no rules, for this reason"""

    def load(self, text: str) -> None:
        if self.broken:
            raise Unavailable(self.broken)
        self.loaded = text

    def lead_loopback_to_gears(self) -> None:
        pass
