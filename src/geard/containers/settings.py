"""What an admin settles for all gears of a machine."""

from __future__ import annotations

from typing import ClassVar

from geard.containers.host_users import parse_host_user
from geard.containers.ids import slots_of
from geard.containers.requests import Restart
from geard.containers.sizes import parse_size
from geard.containers.slices import DEFAULT, PIDS, SLICES, check_slice
from geard.failures import Invalid
from geard.settings import Section


class ContainerSettings(Section):
    """What a gear gets where its install says nothing."""

    key: ClassVar[str] = "containers"
    slice: str = DEFAULT
    restart: Restart = "always"
    stop_timeout: int = 10
    """seconds"""
    memory: dict[str, str] = {}
    """of one gear, by slice: `memory = { container-small = "1G" }`"""
    cpus: float = 0
    pids: int = PIDS
    quota: str = ""
    """of the volumes of one gear: `quota = "10G"`"""
    host_user: str = ""
    """USER or USER:ID: which user of the host gears share that are not asked to have users of their own"""

    ids: str = ""
    """FIRST-LAST: of the host's uids and gids, those of which new gears, jobs and builds get theirs"""

    @property
    def slots(self) -> range:
        return slots_of(self.ids)

    def check(self) -> None:
        slots_of(self.ids)
        if self.host_user:
            parse_host_user(self.host_user)
        check_slice(self.slice)
        for name, size in self.memory.items():
            if name not in SLICES:
                raise Invalid(f"memory: there is no slice {name!r}", hint=f"one of {', '.join(SLICES)}")
            parse_size(size)
        if self.quota:
            parse_size(self.quota)
        if self.stop_timeout < 0 or self.cpus < 0 or self.pids < 0:
            raise Invalid("stop-timeout, cpus and pids cannot be negative")


class Allowances(Section):
    """What askers of the scope *operate* may have that else takes *admin* (docs/SECURITY.md)."""

    key: ClassVar[str] = "allow"
    mounts: tuple[str, ...] = ()
    """folders of the host that may be mounted, with all below them; `/srv/data:ro` only to be read"""
    simple: bool = False
    host_users: tuple[str, ...] = ()
    """users of the host that a gear may share (--host-user)"""

    def check(self) -> None:
        for name in self.host_users:
            if parse_host_user(name)[0] != name:
                raise Invalid(f"host-users: {name!r} is no user's name alone")
        for path in self.mounts:
            if not path.startswith("/"):
                raise Invalid(f"mounts: {path!r} is no absolute path")


class HookSettings(Section):
    """Programs run as root for each gear; the gear as JSON on their standard input (docs/HOOKS.md)."""

    key: ClassVar[str] = "hooks"
    added: tuple[str, ...] = ()
    """a new gear, before it is started for the first time: the program and its arguments"""
    changed: tuple[str, ...] = ()
    """a gear installed anew with other words, before it runs with them"""
    deleted: tuple[str, ...] = ()
    """a gear that was deleted, when nothing of it runs any more"""

    def check(self) -> None:
        for name in ("added", "changed", "deleted"):
            argv: tuple[str, ...] = getattr(self, name)
            if argv and not argv[0].startswith("/"):
                raise Invalid(f"{name}: {argv[0]!r} is no absolute path of a program")
