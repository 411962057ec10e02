"""Definitions on disk: each version two files under its request id, the current ones hard-linked.

    units/ab/ctr-abcdef.service    a second name of abcdef/REQUESTID
    units/ab/ctr-abcdef.run        a second name of abcdef/REQUESTID.run
    units/ab/abcdef/REQUESTID      the unit, as of that version
    units/ab/abcdef/REQUESTID.run  the definition it reads

The definition is swapped first. A kill between the two swaps leaves the unit one version behind; `mend` sees
that they are not two names of one version's files and completes it. Everything here is called with the gear's
lock held, but `current`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.units import parse_run, render_run, render_unit
from geard.facet import AnyFacet
from geard.failures import NotFound, no_such_gear
from geard.host.engine import Engine
from geard.host.storage import Changes, read_text, sweep
from geard.words import decode

KEPT = 5

_REQUEST = re.compile(r"^X-ContainerRequestId=(\S*)$", re.MULTILINE)
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)


def current(folders: Folders) -> Definition | None:
    """The definition in force; None where the gear is not there."""
    if not folders.unit.exists():
        return None
    facts = parse_run(read_text(folders.run) or "")
    return decode(Definition, facts) if facts else None


def require(folders: Folders) -> Definition:
    """Raises NotFound."""
    found = current(folders)
    if found is None:
        raise no_such_gear(folders.id)
    return found


def running(folders: Folders) -> str:
    """The version that was started last, as its start hook wrote it down."""
    return (read_text(folders.state / "version") or "").strip()


def started_at(folders: Folders) -> float:
    """When it was started last, in seconds since 1970; 0 where it was not since the boot."""
    try:
        return (folders.state / "version").stat().st_mtime
    except FileNotFoundError:
        return 0.0


def write(
    folders: Folders, changes: Changes, definition: Definition, facets: Sequence[AnyFacet], engine: Engine
) -> None:
    """Write a version and make it the one in force. Doing it again for the same version is harmless."""
    record(folders, changes, definition, facets, engine)
    if folders.deleting.exists():
        # The name is taken up again: what was being deleted is not, from here on.
        changes.remove(folders.purging)
        changes.remove(folders.deleting)
    enforce(folders, changes, definition.version)


def record(
    folders: Folders, changes: Changes, definition: Definition, facets: Sequence[AnyFacet], engine: Engine
) -> None:
    """Write a version's two files, which one is in force aside."""
    version = folders.versions / definition.version
    run = version.with_name(f"{definition.version}.run")
    # Rendered before anything is written: text that cannot be carried is refused here, with nothing half done.
    run_text = render_run(definition, folders, facets, engine)
    unit_text = render_unit(definition, folders, facets, engine)
    # The definition last: where a version is written anew for its image, one that is whole has its whole unit.
    changes.write_all([(version, unit_text, 0o644), (run, run_text, 0o600)])


def enforce(folders: Folders, changes: Changes, version: str) -> None:
    """Make a version that is kept the one in force."""
    changes.link(folders.versions / f"{version}.run", folders.run)
    changes.link(folders.versions / version, folders.unit)


def choose(folders: Folders, now: Definition, version: str) -> Definition:
    """The version to go back to; of an empty one, that written before the one in force. Raises NotFound."""
    known = recorded(folders)
    if version:
        found = [d for d in known if d.version == version]
        found = found or [d for d in known if d.version.startswith(version)]
        if len(found) == 1:
            return found[0]
        many = "more than one version" if found else "no version"
        raise NotFound(f"{now.id} has {many} {version}", hint=f"gear history {now.id} lists them")
    earlier = [d for d in known if d.written < now.written]
    if not earlier:
        raise NotFound(f"{now.id} has no earlier version", hint=f"gear history {now.id} lists them")
    return earlier[0]


def mend(folders: Folders, changes: Changes) -> None:
    """Remove what a killed writer left, and complete a swap that was cut in two."""
    sweep(folders.versions)
    if not folders.deleting.exists():
        _complete_swap(folders, changes)
        remove_unfinished(folders, changes)


def _complete_swap(folders: Folders, changes: Changes) -> None:
    text, unit = read_text(folders.run), read_text(folders.unit)
    facts = parse_run(text or "")
    if text is None or facts is None:
        return
    if unit is None:
        # A first install was cut before the gear was there; its ports may be another's by now.
        changes.remove(folders.run)
        return
    version = folders.versions / decode(Definition, facts).version
    run = version.with_name(f"{version.name}.run")
    found = _REQUEST.search(unit)
    if not version.exists() or not run.exists():
        return
    if found is not None and found[1] == version.name and not run.samefile(folders.run):
        # A version was being filled in, and that did not come into force: it is as it was.
        changes.write(run, text, 0o600)
        changes.write(version, unit, 0o644)
        changes.link(run, folders.run)
    if not version.samefile(folders.unit):
        changes.link(version, folders.unit)


def remove_unfinished(folders: Folders, changes: Changes) -> None:
    """A version that a killed install did not bring into force was never anything: its claims would be kept for
    it, and `gear history` would tell of it. The file `claiming` names it; or it has half its files.
    """
    now = current(folders)
    in_force = now.version if now is not None else ""
    claimed_for = (read_text(folders.claiming) or "").strip()
    for path in list(folders.versions.iterdir()):
        version = path.name.removesuffix(".run")
        if version == in_force or not _REQUEST_ID.fullmatch(version):
            continue
        run, unit = folders.versions / f"{version}.run", folders.versions / version
        if version == claimed_for or not (run.exists() and unit.exists()):
            changes.remove(run)
            changes.remove(unit)


def recorded(folders: Folders) -> list[Definition]:
    """Every version that is kept, the newest first."""
    found: list[Definition] = []
    for path in folders.versions.glob("*.run"):
        facts = parse_run(read_text(path) or "")
        if facts:
            found.append(decode(Definition, facts))
    return sorted(found, key=lambda definition: definition.written, reverse=True)


def forget_old(
    folders: Folders, changes: Changes, versions: Sequence[Definition], in_use: Collection[str]
) -> list[Definition]:
    """Keep the newest five versions, and those in use; the others, which are gone now."""
    gone = [definition for definition in versions[KEPT:] if definition.version not in in_use]
    for definition in gone:
        changes.remove(folders.versions / definition.version)
        changes.remove(folders.versions / f"{definition.version}.run")
    return gone
