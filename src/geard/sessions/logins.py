"""Logins by SSH: whose uid has come."""

from __future__ import annotations

import os

from geard.containers.folders import Folders
from geard.containers.slots import FIRST_UID, RANGE
from geard.containers.versions import current
from geard.failures import Denied
from geard.host.paths import Paths


def gear_of_uid(paths: Paths, uid: int) -> str:
    """The gear whose user that is. Raises Denied."""
    slot, rest = divmod(uid - FIRST_UID, RANGE)
    if slot >= 0 and rest == 0:
        try:
            unit = os.path.basename(os.readlink(paths.base / "slots" / str(slot)))
        except OSError:
            unit = ""
        id = unit.removeprefix("ctr-").removesuffix(".service")
        definition = current(Folders.of(paths, id)) if id else None
        if definition is not None and definition.slot == slot and not definition.simple:
            return id
    raise Denied(f"uid {uid} is no gear's user: nothing is opened to it", hint="root enters with gear exec")
