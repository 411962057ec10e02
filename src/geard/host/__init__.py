"""What the machine offers: one small object per thing, no policy, no room's names.

`Host` is the whole of it. Nothing here decides; rooms do. A test gives a Host with fakes in some places, and
each fake passes the tests of the real thing.
"""

from __future__ import annotations

from dataclasses import dataclass

from geard.host.engine import Engine
from geard.host.journal import Journal
from geard.host.paths import Paths
from geard.host.systemd import Systemd


@dataclass(frozen=True)
class Host:
    paths: Paths
    systemd: Systemd
    engine: Engine
    journal: Journal
