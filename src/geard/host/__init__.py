"""What the machine offers: one small object per thing, no policy, no room's names.

`Host` is the whole of it. Nothing here decides; rooms do. A test gives a Host with fakes in some places, and
each fake passes the tests of the real thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from geard.failures import Invalid
from geard.host.control_groups import ControlGroups
from geard.host.disk_quotas import DiskQuotas
from geard.host.engine import Engine
from geard.host.journal import Journal
from geard.host.paths import Paths
from geard.host.rules import Rules
from geard.host.settings import EngineSettings, Settings
from geard.host.systemd import Systemd


@dataclass(frozen=True)
class Host:
    paths: Paths
    systemd: Systemd
    engines: Mapping[str, Engine]
    journal: Journal
    rules: Rules = field(default_factory=Rules)
    groups: ControlGroups = field(default_factory=ControlGroups)
    disk_quotas: DiskQuotas = field(default_factory=DiskQuotas)

    @cached_property
    def settings(self) -> Settings:
        return Settings(self.paths.settings / "geard.toml")

    @property
    def engine(self) -> Engine:
        """The machine's default engine."""
        return self.engine_named("")

    def engine_named(self, name: str) -> Engine:
        """The engine of that name; of an empty one, the machine's default. Raises Invalid."""
        name = name or self.settings.section(EngineSettings).default
        found = self.engines.get(name)
        if found is None:
            raise Invalid(f"geard knows no engine {name!r}", hint=f"one of {', '.join(self.engines)}")
        return found
