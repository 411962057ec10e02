"""A user of the host that a gear shares: `--host-user NAME[:ID]`. What that user's files say of it holds for the
gear's user ID (its root, where nothing is said); all others inside stay in the gear's own range.
Pure; shared_users.py looks one up.
"""

from __future__ import annotations

import re

from geard.containers.definition import HostUser
from geard.failures import Invalid

OWN = "-"
"""said in a user's place: none is shared, whatever the machine's settings say"""
USERS = 65_536

_ASKED = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,254}\$?)(?::([0-9]{1,5}))?", re.ASCII)
_HINT = "USER, or USER:ID where another than the gear's root is to be that user"


def parse_host_user(text: str) -> tuple[str, int]:
    """The user's name, and which user of the gear it is to be. Raises Invalid. Pure."""
    found = _ASKED.fullmatch(text)
    if found is None:
        raise Invalid(f"{text[:80]!r} names no user of the host", hint=_HINT)
    inside = int(found[2] or 0)
    if inside >= USERS:
        raise Invalid(f"a gear has no user {inside}: its users end at {USERS - 1}", hint=_HINT)
    return found[1], inside


def show_host_user(user: HostUser | None) -> str:
    """As it is asked for."""
    if user is None:
        return ""
    return f"{user.name}:{user.inside}" if user.inside else user.name
