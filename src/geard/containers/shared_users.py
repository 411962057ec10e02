"""Whom of the host's users a gear may share. One is looked up when the gear is installed, and written down by name
and numbers; `gear-prepare` sees before each start that these still belong together.
"""

from __future__ import annotations

import pwd

from geard.containers.definition import HostUser
from geard.containers.host_users import OWN, parse_host_user
from geard.containers.slots import FIRST_UID, RANGE, SLOTS
from geard.failures import Invalid

NOBODY = 65_534
DYNAMIC = range(61_184, 65_520)
"""ids that systemd gives to services with DynamicUser= for as long as they run"""


def find_host_user(text: str, *, mapped: bool) -> HostUser | None:
    """Asks the host's name service. `mapped`: whether the engine can give each id inside another outside.

    Raises Invalid where there is no such user, or none that a gear could share.
    """
    if not text or text == OWN:
        return None
    name, inside = parse_host_user(text)
    if inside and not mapped:
        raise Invalid(
            f"on Docker Engine no user of a gear is another outside: user {inside} cannot be {name}",
            hint=f"--host-user {name} has the program itself run as {name}",
        )
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise Invalid(f"this host has no user {name}", hint=f"make one: useradd --system {name}") from None
    check_host_user(name, found.pw_uid, found.pw_gid)
    return HostUser(name=name, uid=found.pw_uid, gid=found.pw_gid, inside=inside)


def check_host_user(name: str, uid: int, gid: int) -> None:
    """Raises Invalid for a user whom no gear may share. Pure."""
    gears = range(FIRST_UID, FIRST_UID + RANGE * SLOTS)
    if uid == 0:
        raise Invalid(
            f"{name} is the host's root", hint="--simple shares all of the host's users, and root with them"
        )
    if gid == 0:
        raise Invalid(f"{name} is in the host's group root", hint=f"usermod --gid GROUP {name}, or another user")
    if uid in gears or gid in gears:
        raise Invalid(f"{name} is the user of a gear, and that gear's alone", hint="a user of the host")
    if NOBODY in (uid, gid):
        raise Invalid(f"{name} stands for all who are nobody here", hint="a user made for it")
    if uid in DYNAMIC or gid in DYNAMIC:
        raise Invalid(f"{name} comes and goes with a service (DynamicUser=)", hint="a user made for it")
