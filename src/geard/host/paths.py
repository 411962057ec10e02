"""Where things are on this host. The names follow the README's "Disk Structure"; docs/DISK.md has them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    base: Path = Path("/var/lib/containers")
    """All that must survive: definitions, environments, ports, volumes."""
    run: Path = Path("/run/geard")
    """What a reboot may take: sockets, intents under way, what the last start and stop were like."""
    systemd: Path = Path("/etc/systemd/system")
    """Where units are made known to PID 1, by symbolic links."""
    settings: Path = Path("/etc/geard")
    state: Path = Path("/var/lib/geard")
    """What is this machine's and not its gears': the agent's authority, whom it lets in."""
