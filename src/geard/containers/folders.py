"""Which path means what for a gear (docs/DISK.md)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from geard.host.paths import Paths
from geard.identifiers import bucket, check_id

ACTIVE_WANTS = "container-active.target.wants"
WANTS = "container.target.wants"


def active_wants(paths: Paths) -> Path:
    """The folder of links that say which gears are to run. It is on the gears' own disk and goes where that goes;
    systemd finds it by a link of that name in its own folder.
    """
    return paths.base / "targets" / ACTIVE_WANTS


def unit_name(id: str) -> str:
    return f"ctr-{id}.service"


def engine_name(id: str) -> str:
    """The engine's name of a gear's container."""
    return f"ctr-{id}"


@dataclass(frozen=True)
class Folders:
    """The paths of one gear; its id has been checked."""

    paths: Paths
    id: str

    @classmethod
    def of(cls, paths: Paths, id: str) -> Folders:
        return cls(paths, check_id(id))

    @cached_property
    def bucket(self) -> Path:
        return self.paths.base / "units" / bucket(self.id)

    @cached_property
    def unit(self) -> Path:
        """The unit file: the gear is present while it is there."""
        return self.bucket / unit_name(self.id)

    @cached_property
    def run(self) -> Path:
        """The definition the unit reads at each start."""
        return self.bucket / f"ctr-{self.id}.run"

    @cached_property
    def idle(self) -> Path:
        """There while the gear is idle: its first connection starts it."""
        return self.bucket / f"ctr-{self.id}.idle"

    @cached_property
    def versions(self) -> Path:
        """The folder of versions; its lock is the gear's lock."""
        return self.bucket / self.id

    @cached_property
    def deleting(self) -> Path:
        """There while a deletion is under way."""
        return self.versions / "deleting"

    @cached_property
    def purging(self) -> Path:
        """There beside `deleting` where volumes and environment go too."""
        return self.versions / "purging"

    @cached_property
    def claiming(self) -> Path:
        """There while ports and the like are claimed that no definition records yet."""
        return self.versions / "claiming"

    @cached_property
    def hook_owed(self) -> Path:
        """There while a program of the admin's has yet to be told of this gear: `added` or `changed`."""
        return self.versions / "hook-owed"

    @cached_property
    def owed_update(self) -> Path:
        """The words of an update whose image is being looked for."""
        return self.versions / "update-owed"

    @cached_property
    def wanted(self) -> Path:
        """The link that says: run it, now and after a boot."""
        return active_wants(self.paths) / unit_name(self.id)

    @cached_property
    def known(self) -> Path:
        """The link by which systemd knows the unit."""
        return self.paths.systemd / unit_name(self.id)

    @cached_property
    def drop_ins(self) -> Path:
        """An admin's own settings for the unit: kept over everything."""
        return self.paths.systemd / f"{unit_name(self.id)}.d"

    @cached_property
    def data(self) -> Path:
        return self.paths.base / "data" / bucket(self.id) / self.id

    @cached_property
    def owed_stop(self) -> Path:
        """There from a stop's answer until systemd has stopped the unit."""
        return self.state / "stop-owed"

    @cached_property
    def ready(self) -> Path:
        """There while the container of an idle gear is made, or being made, and its program has yet to begin."""
        return self.state / "ready"

    @cached_property
    def begun(self) -> Path:
        """There since its program has begun, where the container was kept ready."""
        return self.state / "begun"

    @cached_property
    def state(self) -> Path:
        """What the last start and stop were like; gone with a reboot."""
        return self.paths.run / "gears" / engine_name(self.id)
