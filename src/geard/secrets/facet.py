"""What secrets are to a gear: names and places. Their values reach its start hook, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from geard.environments.file import check_variables
from geard.facet import Facet, Gear
from geard.failures import Failure, Invalid
from geard.host import Host
from geard.host.engine import Mount, RunSpec
from geard.host.storage import Changes, read_text
from geard.request import Asker
from geard.secrets import store
from geard.secrets.file import as_variable, file_of
from geard.secrets.requests import SecretsPart, SecretUse
from geard.secrets.uses import check_uses, describe, in_words
from geard.words import Part


class SecretsFacet(Facet[SecretsPart]):
    part: ClassVar[type[Part] | None] = SecretsPart

    def check(self, host: Host, asked: SecretsPart, asker: Asker) -> None:
        check_uses(asked.value)

    def settle(
        self, host: Host, changes: Changes, gear: Gear, asked: SecretsPart | None, before: SecretsPart | None
    ) -> SecretsPart | None:
        """Nothing is claimed: what could not be given at a start is refused now."""
        variables: dict[str, str] = {}
        for use in asked.value if asked is not None else ():
            secret = store.read(host.paths, use.name)
            if use.variable:
                variables[use.variable] = as_variable(use.name, secret.value)
        check_variables(variables)
        return asked if asked is not None and asked.value else None

    def run(self, gear: Gear, settled: SecretsPart | None, spec: RunSpec) -> RunSpec:
        mounts: list[Mount] = []
        for number, use in enumerate(settled.value if settled is not None else ()):
            if any(mount.target == use.target for mount in spec.mounts):
                raise Invalid(f"secret {use.name} and a volume both want {use.target}")
            if use.target:
                source = gear.state / "secrets" / file_of(number, use.name)
                mounts.append(Mount(str(source), use.target, read_only=True))
        return replace(spec, mounts=spec.mounts + tuple(mounts))

    def lines(self, gear: Gear, settled: SecretsPart | None) -> Sequence[tuple[str, str]]:
        return [("GEAR_SECRETS", " ".join(map(_order, settled.value)))] if settled is not None else []

    def metadata(self, settled: SecretsPart | None) -> Sequence[tuple[str, str]]:
        return [(store.METADATA, name) for name in _names(settled)]

    def show(self, host: Host, gear: Gear, settled: SecretsPart | None) -> Sequence[tuple[str, str]]:
        if settled is None:
            return []
        rows = [("Secrets", ", ".join(map(describe, settled.value)))]
        running = _laid_out(gear)
        missing, changed = list[str](), list[str]()
        for name in _names(settled):
            version = _version(host, name)
            if not version:
                missing.append(name)
            elif running.get(name, version) != version:
                changed.append(name)
        if missing:
            what = f"{in_words(missing)} {'is' if len(missing) == 1 else 'are'} missing here: the next start fails"
            rows.append(("Secrets", f"{what}; gear secret create {missing[0]}"))
        if changed:
            what = f"{in_words(changed)} changed since the start"
            rows.append(("Secrets", f"{what}: 'gear restart {gear.id}' brings it in"))
        return rows

    def read_at_start(self, host: Host, gear: Gear, settled: SecretsPart | None) -> Sequence[Path]:
        return [store.folder(host.paths) / name for name in _names(settled)]

    def up_to_date(self, host: Host, gear: Gear, settled: SecretsPart | None) -> bool:
        running = _laid_out(gear)
        return all(running.get(name) == _version(host, name) for name in _names(settled))


def _order(use: SecretUse) -> str:
    """What the start hook is to do (file.lay_out); where the file is seen inside, the engine is told."""
    return f"{use.name}={use.variable}" if use.variable else f"{use.name}:{use.mode or '0444'}:{use.uid}:{use.gid}"


def _names(settled: SecretsPart | None) -> list[str]:
    """Each once, in the order of the install."""
    return list(dict.fromkeys(use.name for use in settled.value)) if settled is not None else []


def _laid_out(gear: Gear) -> dict[str, str]:
    """Which version of each secret the gear was started with; nothing where it does not run."""
    lines = (read_text(gear.state / "secrets" / "versions") or "").splitlines()
    return {name: version for name, _, version in (line.partition(" ") for line in lines)}


def _version(host: Host, name: str) -> str:
    """Empty where it cannot be read: the next start says why."""
    try:
        return store.read(host.paths, name).version
    except Failure:
        return ""


facet = SecretsFacet()
