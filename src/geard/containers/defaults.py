"""What holds where an install says nothing: the machine's settings, then geard's own; and which of them it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geard.containers.host_users import OWN
from geard.containers.limits import NAMES, check_together, merged
from geard.containers.requests import Limits, Restart, Wish
from geard.containers.settings import ContainerSettings
from geard.containers.sizes import parse_size
from geard.containers.slices import SLICES, check_slice
from geard.host.settings import EngineSettings, Settings

ASKED = "asked"


@dataclass(frozen=True)
class Decided:
    engine: str
    slice: str
    restart: Restart
    stop_timeout: int
    limits: Limits
    host_user: str
    """as it is asked for; empty: none"""
    origins: Mapping[str, str]
    """name of a value -> "asked", "default", or the file and line that settles it"""


def decide(wish: Wish, settings: Settings) -> Decided:
    """Raises Invalid where the settings are wrong, or limits contradict each other."""
    given = settings.section(ContainerSettings)
    engine = settings.section(EngineSettings).default
    slice = check_slice(wish.systemd_slice or given.slice)
    limits = wish.limits
    by_slice = slice in given.memory
    memory = parse_size(given.memory[slice]) if by_slice else SLICES[slice].memory
    slices_own = settings.origin(ContainerSettings, "memory") if by_slice else f"default of slice {slice}"

    def origin(name: str, asked: bool) -> str:
        return ASKED if asked else settings.origin(ContainerSettings, name)

    settled = {"memory": slices_own, "memory-swap": "twice the memory", "io-read": "none", "io-write": "none"}
    origins = {
        name: settled.get(name) or settings.origin(ContainerSettings, name)
        if getattr(limits, field) is None
        else ASKED
        for field, name in NAMES.items()
    }
    return Decided(
        engine=wish.engine or engine,
        slice=slice,
        restart=wish.restart or given.restart,
        stop_timeout=given.stop_timeout if wish.stop_timeout is None else wish.stop_timeout,
        limits=check_together(merged(limits, Limits(memory=memory, cpus=given.cpus, pids=given.pids))),
        host_user=_host_user(wish, given.host_user),
        origins={
            "host-user": origin("host_user", bool(wish.host_user) or wish.isolate or wish.simple),
            "engine": ASKED if wish.engine else settings.origin(EngineSettings, "default"),
            "slice": origin("slice", bool(wish.systemd_slice)),
            "restart": origin("restart", wish.restart is not None),
            "stop-timeout": origin("stop_timeout", wish.stop_timeout is not None),
            **origins,
        },
    )


def _host_user(wish: Wish, default: str) -> str:
    if wish.simple or wish.isolate:
        return ""
    return "" if wish.host_user == OWN else wish.host_user or default
