"""The real machine, put together."""

from __future__ import annotations

from geard.host import Host
from geard.host.engine.docker import Docker
from geard.host.engine.podman import Podman
from geard.host.journal import Journal
from geard.host.paths import Paths
from geard.host.systemd import Systemd


def this_host() -> Host:
    """Call it on the event loop that will use it."""
    return Host(
        paths=Paths(), systemd=Systemd(), engines={Podman.name: Podman(), Docker.name: Docker()}, journal=Journal()
    )
