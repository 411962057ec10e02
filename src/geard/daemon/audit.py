"""What the journal is told of those who could not say who asks: a line each; of a flood so many, then how many.

Who got in and changed something is told by the API itself, whatever came of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

LINES = 30
"""at once; then one every SECONDS_EACH"""
SECONDS_EACH = 2.0


class Audit:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free_at = 0.0
        self._untold = 0

    def refused(self, door: str, what: str, why: str, id: str = "-") -> None:
        """By which door, what was asked, why it was refused, the request's id if it had one."""
        now = self._clock()
        if self._free_at - now > (LINES - 1) * SECONDS_EACH:
            self._untold += 1
            return
        self._free_at = max(self._free_at, now) + SECONDS_EACH
        if self._untold:
            log.warning("%d more refusals were not told", self._untold)
            self._untold = 0
        log.warning("refused, %s: %s [%s]: %s", door, what, id, why)
