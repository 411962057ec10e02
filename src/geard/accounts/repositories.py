"""The uids of repositories' users: below those of gears, as if of slot -1. Standard library only."""

from __future__ import annotations

from geard.containers.slots import FIRST_UID, RANGE

BASE = FIRST_UID - RANGE
"""what the container that hosts repositories calls 0"""
FIRST, LAST = 1_000, 64_999
"""of the numbers that repositories have, which are their uids in there"""


def uid_of(number: int) -> int:
    return BASE + number


def number_of(uid: int) -> int:
    return uid - BASE


def is_one(uid: int) -> bool:
    return FIRST <= number_of(uid) <= LAST
