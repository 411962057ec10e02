"""A gear as it is written down: everything that was decided about it, in one value."""

from __future__ import annotations

from geard.containers.requests import Limits, Restart, VolumeConfig
from geard.words import Part, Word


class HostUser(Word):
    """A user of the host that one of the gear's own users is outside."""

    name: str
    uid: int
    gid: int
    inside: int = 0
    """which of the gear's users"""


class Definition(Word):
    id: str
    version: str
    """the request id it came with"""
    written: str
    """RFC 3339"""
    created: str = ""
    """RFC 3339; when the first of its versions was written: what the journal has from before is another's"""
    by: str = ""
    engine: str = "podman"
    image: str = ""
    """as it was asked for"""
    image_id: str = ""
    """the very image, once it is here; empty until then, and the gear cannot start"""
    digest: str = ""
    simple: bool = False
    slot: int = 0
    """which range of users and which address on the bridge (slots.py); the gear's for good"""
    level: str = ""
    """of SELinux, where that is on: s0 with two categories that no other gear has together"""
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    uid: int | None = None
    """first host uid and gid of its 65,536; None with `simple`"""
    host_user: HostUser | None = None
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    volume_config: VolumeConfig = VolumeConfig()
    image_volumes: tuple[str, ...] = ()
    """paths that the image declares as volumes: kept as the gear's own, like those asked for"""
    slice: str = "container-small"
    restart: Restart = "always"
    limits: Limits = Limits()
    labels: dict[str, str] = {}
    stop_timeout: int = 10
    origins: dict[str, str] = {}
    """where values come from that an install may leave open (defaults.py)"""
    parts: tuple[Part, ...] = ()

    @property
    def complete(self) -> bool:
        return bool(self.image_id)
