"""From a gear that is there and what is to change of it, to the wish for the gear it is to be. Pure."""

from __future__ import annotations

import msgspec

from geard.containers.defaults import ASKED
from geard.containers.definition import Definition
from geard.containers.host_users import OWN, show_host_user
from geard.containers.limits import merged, only
from geard.containers.requests import UpdateContainer, Wish
from geard.words import Part


def wish_of(definition: Definition) -> Wish:
    """What would have to be asked to have this gear again; what was left to the machine's settings still is."""
    asked = {name for name, origin in definition.origins.items() if origin == ASKED}
    return Wish(
        id=definition.id,
        image=definition.image,
        engine=definition.engine if "engine" in asked else "",
        simple=definition.simple,
        host_user=""
        if "host-user" not in asked or definition.simple
        else show_host_user(definition.host_user) or OWN,
        command=definition.command,
        entrypoint=definition.entrypoint,
        volume_config=definition.volume_config,
        systemd_slice=definition.slice if "slice" in asked else "",
        restart=definition.restart if "restart" in asked else None,
        limits=only(definition.limits, asked),
        labels=definition.labels,
        stop_timeout=definition.stop_timeout if "stop-timeout" in asked else None,
        parts=definition.parts,
    )


def updated(before: Wish, change: UpdateContainer, parts: tuple[Part, ...]) -> Wish:
    """`before` with what is said in `change`; `parts` replace those of their kinds."""
    said = {type(part) for part in parts}
    labels = {name: value for name, value in (before.labels | change.labels).items() if value}
    return msgspec.structs.replace(
        before,
        image=change.image or before.image,
        engine=change.engine or before.engine,
        command=before.command if change.command is None else change.command,
        entrypoint=before.entrypoint if change.entrypoint is None else change.entrypoint or None,
        volume_config=change.volume_config or before.volume_config,
        systemd_slice=change.systemd_slice or before.systemd_slice,
        restart=change.restart or before.restart,
        limits=merged(change.limits, before.limits),
        labels=labels,
        host_user=change.host_user or before.host_user,
        stop_timeout=before.stop_timeout if change.stop_timeout is None else change.stop_timeout,
        parts=(*(part for part in before.parts if type(part) not in said), *parts),
    )


def only_asks_anew(change: UpdateContainer) -> bool:
    """Whether nothing is said but which gear: then the newest image of its name is wanted."""
    plain = UpdateContainer(id=change.id, later=change.later)
    return msgspec.structs.replace(change, renew=False) == plain
