"""What an environment is to a gear: the id of the one it reads; its variables never stand in the definition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from geard.environments import store
from geard.environments.file import check_variables, parse, parse_lines, split_for_podman
from geard.environments.requests import Environment, EnvironmentPart, Variable
from geard.environments.settings import FetchSettings
from geard.environments.sources import check_source
from geard.facet import Facet, Gear
from geard.host import Host
from geard.host.fetch import fetch_text
from geard.host.storage import Changes, read_text
from geard.identifiers import check_id
from geard.request import Asker
from geard.words import Part


class EnvironmentFacet(Facet[EnvironmentPart]):
    part: ClassVar[type[Part] | None] = EnvironmentPart

    def check(self, host: Host, asked: EnvironmentPart, asker: Asker) -> None:
        if asked.value.id:
            check_id(asked.value.id, "environment")
        check_variables(store.as_mapping(asked.value.variables))
        check_source(asked.value.source, asker, host)

    async def fetch(self, host: Host, asked: EnvironmentPart) -> EnvironmentPart:
        if not asked.value.source:
            return asked
        allow = host.settings.section(FetchSettings).allow
        found = parse_lines(await fetch_text(asked.value.source, allow)) | store.as_mapping(asked.value.variables)
        check_variables(found)
        variables = tuple(Variable(name=name, value=value) for name, value in found.items())
        return EnvironmentPart(value=Environment(id=asked.value.id, variables=variables, keep=asked.value.keep))

    def amend(self, asked: EnvironmentPart, before: EnvironmentPart | None) -> EnvironmentPart:
        """Single variables are set, in the environment that it reads."""
        value = asked.value
        id = value.id or (before.value.id if before is not None else "")
        return EnvironmentPart(value=Environment(id=id, variables=value.variables, keep=True))

    def settle(
        self,
        host: Host,
        changes: Changes,
        gear: Gear,
        asked: EnvironmentPart | None,
        before: EnvironmentPart | None,
    ) -> EnvironmentPart | None:
        id = asked.value.id if asked is not None else ""
        return EnvironmentPart(value=Environment(id=id)) if id not in ("", gear.id) else None

    def carry_out(self, host: Host, changes: Changes, gear: Gear, asked: EnvironmentPart) -> None:
        """Variables of the gear's own environment replace it; those of a shared one are put into it."""
        id = asked.value.id or gear.id
        variables = store.as_mapping(asked.value.variables)
        if variables and id == gear.id and not asked.value.keep:
            store.replace(host.paths, changes, id, variables)
        elif variables:
            store.patch(host.paths, changes, id, variables)

    def lines(self, gear: Gear, settled: EnvironmentPart | None) -> Sequence[tuple[str, str]]:
        return [("GEAR_ENVIRONMENT", settled.value.id if settled is not None else gear.id)]

    def read_at_start(self, host: Host, gear: Gear, settled: EnvironmentPart | None) -> Sequence[Path]:
        return [store.place(host.paths, settled.value.id if settled is not None else gear.id)]

    def show(self, host: Host, gear: Gear, settled: EnvironmentPart | None) -> Sequence[tuple[str, str]]:
        id = settled.value.id if settled is not None else gear.id
        found = store.load(host.paths, id)
        if found is None:
            return []
        return [("Environment", f"{id}: {len(found)} variable{'s' if len(found) != 1 else ''}")]

    def up_to_date(self, host: Host, gear: Gear, settled: EnvironmentPart | None) -> bool:
        found = store.load(host.paths, settled.value.id if settled is not None else gear.id)
        elsewhere = {"GEAR_ENV", *(read_text(gear.state / "overridden") or "").split()}
        own = {name: value for name, value in (found or {}).items() if name not in elsewhere}
        plain, others = split_for_podman(own)
        laid_out = parse(read_text(gear.state / "environment") or "")
        laid_out = {name: value for name, value in laid_out.items() if name not in elsewhere}
        return read_text(gear.state / "env") == plain and laid_out == others

    def remains(self, host: Host, gear: Gear) -> bool:
        return store.place(host.paths, gear.id).exists()

    def release(
        self, host: Host, changes: Changes, gear: Gear, recorded: Sequence[EnvironmentPart], *, purge: bool
    ) -> None:
        """A shared environment stays: others may read it. The gear's own goes with `--purge`."""
        if purge:
            store.delete(host.paths, changes, gear.id)


facet = EnvironmentFacet()
