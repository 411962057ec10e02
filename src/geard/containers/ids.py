"""The host's uids and gids that gears may have, 65,536 a slot. Pure."""

from __future__ import annotations

from geard.failures import Invalid

FIRST_UID = 2_000_000
RANGE = 65_536
SLOTS = 28_000


def slots_of(text: str) -> range:
    """The slots whose ids all lie in FIRST-LAST; of an empty text all. Raises Invalid."""
    if not text:
        return range(SLOTS)
    first, _, last = text.partition("-")
    end = FIRST_UID + RANGE * SLOTS
    if not (first.isdecimal() and last.isdecimal()) or not FIRST_UID <= int(first) < int(last) < end:
        raise Invalid(f"ids: {text!r} is no span of ids", hint=f"FIRST-LAST, within {FIRST_UID}-{end - 1}")
    found = range(-((FIRST_UID - int(first)) // RANGE), (int(last) + 1 - FIRST_UID) // RANGE)
    if not found:
        raise Invalid(f"ids: {text} has no gear's range in it", hint=f"{RANGE} each, counted from {FIRST_UID}")
    return found
