"""What an admin settles about requests: how many do slow work at once, and how long what came of them is kept."""

from __future__ import annotations

import os
from typing import ClassVar

from geard.failures import Invalid
from geard.settings import Section

AT_ONCE = max(4, 2 * (os.cpu_count() or 1))


class RequestSettings(Section):
    key: ClassVar[str] = "requests"
    at_once: int = 0
    """how many start, pull or build at the same time; 0: two for each processor, four at least"""
    keep_hours: float = 24
    """what came of a request can be seen, and is joined, for so long"""
    keep_megabytes: int = 128
    """on disk; beyond that the oldest go first"""

    def check(self) -> None:
        if self.at_once < 0:
            raise Invalid("at-once cannot be negative")
        if self.keep_hours < 1:
            raise Invalid("keep-hours: an hour at least, so that who asks again finds what came of it")
        if self.keep_megabytes < 1:
            raise Invalid("keep-megabytes: 1 at least")
