"""One line in the journal for each request that would change something, and for each that was refused because it
could not say who asks. Refusals cost whoever sends them nothing, so of those only so many are told; then how many.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

LINES = 30
"""of refusals at once; then one every SECONDS_EACH"""
SECONDS_EACH = 2.0


class Audit:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free_at = 0.0
        self._untold = 0

    def tell(self, who: str, door: str, what: str, id: str, status: int) -> None:
        """What was asked, and by what status it was answered."""
        log.info("%s, %s: %s [%s] %d", who, door, what, id, status)

    def refused(self, who: str, door: str, what: str, id: str, status: int, why: str) -> None:
        now = self._clock()
        if self._free_at - now > (LINES - 1) * SECONDS_EACH:
            self._untold += 1
            return
        self._free_at = max(self._free_at, now) + SECONDS_EACH
        if self._untold:
            log.warning("%d more refusals were not told", self._untold)
            self._untold = 0
        log.warning("refused: %s, %s: %s [%s] %d: %s", who, door, what, id, status, why)
