"""Where the lab keeps its files. (Apart from `machine` because `exec`, which is to be quick, imports little.)

The cache (GEARD_LAB_CACHE) can be removed when no lab is up, at the price of a minute; the state
(GEARD_LAB_STATE) holds the hosts' disks and is empty when all labs are down.
"""

import os
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("GEARD_LAB_CACHE", "/var/cache/geard-lab"))
STATE = Path(os.environ.get("GEARD_LAB_STATE", "/var/lib/geard-lab"))
DEFAULT_LAB = os.environ.get("GEARD_LAB", "lab")


def directory_of(lab: str, host: str) -> Path:
    return STATE / lab / "hosts" / host


def door_of(directory: Path) -> Path:
    """The socket that leads into the host with this directory."""
    return directory / "door/door"
