"""From a wish to a definition on disk, in two steps: `settle` writes it and makes it the one in force;
`complete` fills in what depends on the image, once that is here. Both block, and hold the gear's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from geard.containers import asleep, hooks, slots, versions
from geard.containers.defaults import ASKED, decide
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.limits import NAMES, check_together, merged
from geard.containers.requests import Limits, Preview, Wish
from geard.containers.selinux import level_of
from geard.containers.settings import ContainerSettings
from geard.containers.shared_users import find_host_user
from geard.containers.units import gear_of, render_run, render_unit
from geard.containers.volumes import volume_folder
from geard.containers.wishes import check_user
from geard.facet import AnyFacet
from geard.failures import Conflict, Invalid
from geard.host import Host
from geard.host.engine import Image
from geard.host.storage import Changes, locked
from geard.words import Part, part_of

Plan = Callable[[Definition | None], Wish]
"""Asked with the gear's lock held."""

P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Settled:
    definition: Definition
    changed: bool
    reload: bool
    """what only the unit file can say has changed: systemd must read it anew if it has it loaded"""
    new: bool = False
    """there was no gear of that name; an earlier one's unit may be loaded still, since a boot that started it"""


def settle(
    host: Host, wish: Wish, version: str, by: str, facets: Sequence[AnyFacet], image: Image | None
) -> Settled:
    """Make `wish` the definition in force, complete where the image is known already.

    Raises AlreadyExists for a port, and nothing has changed then.
    """
    return settle_planned(host, wish.id, lambda before: wish, version, by, facets, image)


def settle_planned(
    host: Host, id: str, plan: Plan, version: str, by: str, facets: Sequence[AnyFacet], image: Image | None
) -> Settled:
    """The same for a wish that depends on the definition in force before."""
    folders = Folders.of(host.paths, id)
    with Changes() as changes, _held(folders, changes):
        with _claiming(host, folders, changes, facets, version):
            before = versions.current(folders)
            wish = plan(before)
            slot = before.slot if before is not None else _slot(host, folders, changes)
            parts = _settle_parts(host, folders, changes, wish.parts, before, facets)
            asked = _definition(host, wish, version, by, slot, parts, before)
            if before is not None and before.image == asked.image and before.engine == asked.engine:
                asked = msgspec.structs.replace(
                    asked, image_id=before.image_id, digest=before.digest, image_volumes=before.image_volumes
                )
            if image is not None:
                asked = _with_image(host, changes, folders, asked, image, facets)
            changed = before is None or not _same(before, asked) or before.image_id != asked.image_id
            definition = asked if before is None or changed else before
            if changed:
                _check_version(folders, definition)
                hooks.owe(host, folders, changes, "added" if before is None else "changed")
                versions.write(folders, changes, definition, facets, host.engine_named(definition.engine))
                if before is not None:
                    _forget_old(host, folders, changes, definition.version, facets)
        changes.remove(folders.owed_update)  # a newer word has been said
        # Often on another file system, a round of its disk more; what a power cut takes of it the boot puts back.
        changes.point(folders.known, folders.unit, derived=True)
        _tell_facets(host, folders, definition, facets)
        for facet in facets:
            asked_part = part_of(facet.part, wish.parts)
            if asked_part is not None:
                facet.carry_out(host, changes, gear_of(folders), asked_part)
        if wish.started:
            changes.folder(folders.wanted.parent)
            changes.point(folders.wanted, folders.unit)
            asleep.forget(folders, changes)
        _hold_if_idle(folders, definition)
    reload = before is not None and _of_unit(before) != _of_unit(definition)
    return Settled(definition, changed, reload, new=before is None)


def complete(
    host: Host, id: str, version: str, image: Image, facets: Sequence[AnyFacet], new_version: str
) -> Definition | None:
    """Fill in the image; one that is another than before makes a new version. None where the definition in force
    is another by now: whoever wrote it completes it.

    Raises Invalid where this image can never run so (it names no program, and none was given).
    """
    folders = Folders.of(host.paths, id)
    with Changes() as changes, _held(folders, changes):
        definition = versions.current(folders)
        if definition is None:
            _drop_if_empty(folders)  # it was deleted meanwhile, and its folder is there for the lock alone
        if definition is None or definition.version != version:
            return None
        if definition.complete and definition.image_id != image.id:
            definition = msgspec.structs.replace(definition, version=new_version, written=_now(folders))
        with _claiming(host, folders, changes, facets, definition.version):
            full = _with_image(host, changes, folders, definition, image, facets)
            if full != versions.current(folders):
                versions.write(folders, changes, full, facets, host.engine_named(full.engine))
            _forget_old(host, folders, changes, full.version, facets)
        _hold_if_idle(folders, full)
    return full


def _hold_if_idle(folders: Folders, definition: Definition) -> None:
    """An idle gear is woken by the ports that it has now."""
    if asleep.read(folders) is not None:
        asleep.hold(folders, definition)


def revise(
    host: Host,
    id: str,
    version: str,
    by: str,
    facets: Sequence[AnyFacet],
    kind: type[P],
    change: Callable[[P | None], P],
) -> Settled:
    """One part of what a gear is made another, as a version of its own; all else stays as it is.

    Raises NotFound, what `change` raises, and what the part's facet says: nothing has changed then.
    """
    facet = next(facet for facet in facets if facet.part is kind)

    def settle(changes: Changes, folders: Folders, before: Definition) -> Definition:
        now = part_of(kind, before.parts)
        settled = facet.settle(host, changes, gear_of(folders), change(now), now)
        parts = [part for part in before.parts if part is not now] + ([settled] if settled is not None else [])
        return msgspec.structs.replace(before, parts=tuple(parts))

    return _revised(host, id, version, by, facets, settle)


def relimit(host: Host, id: str, version: str, by: str, facets: Sequence[AnyFacet], said: Limits) -> Settled:
    """The limits that are said are others, as a version of their own; all else stays. Raises NotFound, Invalid."""
    asked = {name: ASKED for field, name in NAMES.items() if getattr(said, field) is not None}

    def settle(changes: Changes, folders: Folders, before: Definition) -> Definition:
        limits = check_together(merged(said, before.limits))
        return msgspec.structs.replace(before, limits=limits, origins={**before.origins, **asked})

    return _revised(host, id, version, by, facets, settle)


def _revised(
    host: Host,
    id: str,
    version: str,
    by: str,
    facets: Sequence[AnyFacet],
    settle: Callable[[Changes, Folders, Definition], Definition],
) -> Settled:
    folders = Folders.of(host.paths, id)
    versions.require(folders)
    with Changes() as changes, _held(folders, changes):
        before = versions.require(folders)
        with _claiming(host, folders, changes, facets, version):
            asked = msgspec.structs.replace(
                settle(changes, folders, before), version=version, written=_now(folders), by=by
            )
            changed = not _same(before, asked)
            if changed:
                _check_version(folders, asked)
                hooks.owe(host, folders, changes, "changed")
                versions.write(folders, changes, asked, facets, host.engine_named(asked.engine))
                _forget_old(host, folders, changes, asked.version, facets)
        _hold_if_idle(folders, asked if changed else before)
    return Settled(asked if changed else before, changed, reload=False)


def adapt(host: Host, id: str, facets: Sequence[AnyFacet], kind: type[Part]) -> bool:
    """Have a gear that runs take on its part of that kind as it is in force now; False where that takes a start.

    Where it then is just what is installed, that version is the one that runs.
    """
    folders = Folders.of(host.paths, id)
    with locked(folders.versions):
        now, version = versions.current(folders), versions.running(folders)
        running = next((d for d in versions.recorded(folders) if d.version == version), None)
        if now is None or running is None:
            return False
        facet = next(facet for facet in facets if facet.part is kind)
        parts = [part_of(kind, definition.parts) for definition in (running, now)]
        if not facet.adapt(host, gear_of(folders), (now.ipv4, now.ipv6), *parts):
            return False
        alike = [
            msgspec.structs.replace(d, parts=tuple(part for part in d.parts if not isinstance(part, kind)))
            for d in (running, now)
        ]
        note_running(folders, *alike)
    return True


def note_running(folders: Folders, running: Definition, now: Definition) -> None:
    """`running` is what runs, but for what it has just taken on. Where that is what is installed, say so."""
    if running.version != now.version and _same(running, now) and running.image_id == now.image_id:
        _note_version(folders, now.version)


def _note_version(folders: Folders, version: str) -> None:
    """What the start hook would write down; when it started stays, which is the file's time."""
    path = folders.state / "version"
    status, draft = path.stat(), path.with_name("version.tmp")
    draft.write_text(version)
    draft.chmod(0o600)
    os.utime(draft, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.rename(draft, path)


def tidy(host: Host, id: str, facets: Sequence[AnyFacet], *, stopped: bool = False) -> None:
    """Give back what only earlier versions held, where none of them runs: the gear has just been `stopped`, or
    runs the version in force.
    """
    folders = Folders.of(host.paths, id)
    if not folders.unit.exists():
        return
    with locked(folders.versions), Changes() as changes:
        now = versions.current(folders)
        if now is None or not (stopped or versions.running(folders) == now.version):
            return
        earlier = [d for d in versions.recorded(folders) if d.version != now.version]
        for facet in facets:
            parts = [part for d in earlier if (part := part_of(facet.part, d.parts)) is not None]
            facet.tidy(host, changes, gear_of(folders), part_of(facet.part, now.parts), parts)


def _with_image(
    host: Host,
    changes: Changes,
    folders: Folders,
    definition: Definition,
    image: Image,
    facets: Sequence[AnyFacet],
) -> Definition:
    if not image.command and not definition.command and not definition.entrypoint:
        raise Invalid(
            f"{definition.image} names no program to run", hint="give one: gear install IMAGE NAME -- PROGRAM…"
        )
    check_user(image.user, simple=definition.uid is None)
    gear = gear_of(folders)
    parts: list[Part] = []
    for facet in facets:
        part = facet.complete(host, changes, gear, part_of(facet.part, definition.parts), image)
        if part is not None:
            parts.append(part)
    return msgspec.structs.replace(
        definition,
        image_id=image.id,
        digest=image.digest,
        image_volumes=image.volumes,
        parts=tuple(parts),
    )


def roll_back(host: Host, id: str, version: str, facets: Sequence[AnyFacet]) -> Settled:
    """Make an earlier version the one in force again: its two files, as they are, by two links.

    Without `version`, the one that was written before the one in force. Raises NotFound, and AlreadyExists where
    a port it had is another's by now; nothing has changed then.
    """
    folders = Folders.of(host.paths, id)
    versions.require(folders)
    with Changes() as changes, _held(folders, changes):
        before = versions.require(folders)
        target = versions.choose(folders, before, version)
        with _claiming(host, folders, changes, facets, target.version):
            parts = _settle_parts(host, folders, changes, target.parts, before, facets, restore=True)
            if not _same_parts(parts, target.parts):
                raise Conflict(f"version {target.version} of {id} cannot be had again as it was")
            if target.version != before.version:
                hooks.owe(host, folders, changes, "changed")
                versions.enforce(folders, changes, target.version)
        changes.remove(folders.owed_update)
        _tell_facets(host, folders, target, facets)
        _hold_if_idle(folders, target)
    return Settled(target, target.version != before.version, _of_unit(before) != _of_unit(target))


def _same_parts(one: Sequence[Part], other: Sequence[Part]) -> bool:
    return sorted(one, key=lambda part: part.key) == sorted(other, key=lambda part: part.key)


def preview(host: Host, wish: Wish, version: str, by: str, facets: Sequence[AnyFacet]) -> Preview:
    """What `settle` would write, as far as it can be known without claiming anything."""
    folders = Folders.of(host.paths, wish.id)
    before = versions.current(folders)
    definition = _definition(host, wish, version, by, before.slot if before is not None else 0, wish.parts, before)
    whole = msgspec.structs.replace(
        definition, image_id=(before.image_id if before is not None else "") or wish.image
    )
    engine = host.engine_named(whole.engine)
    return Preview(
        unit=render_unit(whole, folders, facets, engine), definition=render_run(whole, folders, facets, engine)
    )


def missing_volumes(host: Host, definition: Definition) -> list[str]:
    """The gear's own volumes that are not there yet, by their paths inside."""
    folders = Folders.of(host.paths, definition.id)
    paths = {volume.path for volume in definition.volume_config.volumes} | set(definition.image_volumes)
    paths -= {mount.host_path for mount in definition.volume_config.volume_mounts}
    return [path for path in sorted(paths) if not (folders.data / volume_folder(path)).is_dir()]


def make_data_folder(host: Host, definition: Definition) -> Path:
    """Where the gear's own volumes are. Its lock is held by who fills one."""
    folders = Folders.of(host.paths, definition.id)
    with Changes() as changes:
        changes.folder(host.paths.base / "data", 0o700)
        changes.folder(folders.data.parent, 0o700)
        with suppress(FileExistsError):
            host.disk_quotas.make(folders.data)
        changes.folder(folders.data, 0o700)
    return folders.data


def make_volumes(host: Host, definition: Definition) -> list[tuple[str, str]]:
    """Make the gear's own volumes that are not there yet; (path in the image, folder) of each new one."""
    made: list[tuple[str, str]] = []
    with Changes() as changes:
        for path in missing_volumes(host, definition):
            folder = make_data_folder(host, definition) / volume_folder(path)
            draft = folder.with_name(f".{folder.name}.new")
            changes.remove_tree(draft)
            os.mkdir(draft, 0o755)
            made.append((path, str(draft)))
    return made


def adopt_volume(draft: str) -> None:
    """The draft of a volume has been filled: it takes its name."""
    folder, _, name = draft.rpartition("/")
    os.rename(draft, f"{folder}/{name.removeprefix('.').removesuffix('.new')}")


@contextmanager
def _held(folders: Folders, changes: Changes) -> Generator[None]:
    """The gear's lock, with what a killed writer left put right."""
    new = changes.folder(folders.versions)
    with locked(folders.versions):
        if not new:
            versions.mend(folders, changes)
        yield


@contextmanager
def _claiming(
    host: Host, folders: Folders, changes: Changes, facets: Sequence[AnyFacet], version: str
) -> Generator[None]:
    """Claims are made before a definition records them: a file says so meanwhile, and for which version. Where a
    killed writer left it, or this one fails, what is held and not recorded is given back.
    """
    try:
        os.close(os.open(folders.claiming, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        release_unrecorded(host, folders, changes, versions.recorded(folders), facets)
    try:
        folders.claiming.write_text("" if (folders.versions / version).exists() else version)
        yield
    except BaseException:
        # What a version records stays: where the new definition has come into force all the same, its own too.
        # Where not even this can be done the file stays, for who comes next.
        versions.mend(folders, changes)
        there = versions.current(folders) is not None
        release_unrecorded(host, folders, changes, versions.recorded(folders) if there else (), facets)
        _claimed(folders)
        raise
    _claimed(folders)


def _claimed(folders: Folders) -> None:
    folders.claiming.unlink(missing_ok=True)
    if not folders.unit.exists():
        _drop_if_empty(folders)


def put_right(host: Host, id: str, facets: Sequence[AnyFacet]) -> None:
    """What a killed install left of a gear that is there: a half version, claims that no version records."""
    folders = Folders.of(host.paths, id)
    if not folders.claiming.exists() and not any(folders.versions.glob(".*.tmp")):
        return
    with Changes() as changes, _held(folders, changes):
        if folders.claiming.exists():
            release_unrecorded(host, folders, changes, versions.recorded(folders), facets)
            changes.remove(folders.claiming)


def release_unrecorded(
    host: Host, folders: Folders, changes: Changes, known: Sequence[Definition], facets: Sequence[AnyFacet]
) -> None:
    """Give back what this gear holds beyond what `known` records: looked for among all, so only after a crash."""
    for facet in facets:
        recorded = [part for d in known if (part := part_of(facet.part, d.parts)) is not None]
        facet.repair(host, changes, gear_of(folders), recorded)
    slot = slots.kept(host.paths, folders.unit)
    if slot is not None and not folders.data.exists() and slot not in {d.slot for d in known}:
        slots.release(host.paths, changes, slot, folders.unit)


def _slot(host: Host, folders: Folders, changes: Changes) -> int:
    """The one it has kept is looked for among all, so only where there is something it may have been kept for."""
    if folders.data.exists() or os.listdir(folders.versions) != [folders.claiming.name]:
        found = slots.kept(host.paths, folders.unit)
        if found is not None:
            return found
    return slots.reserve(host.paths, changes, folders.unit, host.settings.section(ContainerSettings).slots)


def _settle_parts(
    host: Host,
    folders: Folders,
    changes: Changes,
    asked: tuple[Part, ...],
    before: Definition | None,
    facets: Sequence[AnyFacet],
    *,
    restore: bool = False,
) -> tuple[Part, ...]:
    """All facets' claims; where one fails, they are no version's, and given back with it. With `restore`, what is
    asked was settled before, and where nothing is asked nothing is wanted.
    """
    gear = gear_of(folders)
    parts: list[Part] = []
    for facet in facets:
        given = part_of(facet.part, asked)
        had = part_of(facet.part, before.parts) if before is not None else None
        part = None if restore and given is None else facet.settle(host, changes, gear, given, had)
        if part is not None:
            parts.append(part)
    return tuple(parts)


def _tell_facets(host: Host, folders: Folders, definition: Definition, facets: Sequence[AnyFacet]) -> None:
    first_uid = None if definition.simple else slots.uid_base(definition.slot)
    for facet in facets:
        facet.in_force(host, gear_of(folders), first_uid)


def _forget_old(host: Host, folders: Folders, changes: Changes, current: str, facets: Sequence[AnyFacet]) -> None:
    """Keep the newest versions, the one in force and the one that runs; what only others held goes with them."""
    known = versions.recorded(folders)
    gone = versions.forget_old(folders, changes, known, {current, versions.running(folders)})
    kept = [definition for definition in known if definition not in gone]
    for facet in facets if gone else ():
        parts = [
            [part for d in some if (part := part_of(facet.part, d.parts)) is not None] for some in (gone, kept)
        ]
        facet.forget(host, changes, gear_of(folders), *parts)


def _definition(
    host: Host, wish: Wish, version: str, by: str, slot: int, parts: tuple[Part, ...], before: Definition | None
) -> Definition:
    decided = decide(wish, host.settings)
    engine = host.engine_named(decided.engine)
    ipv4, ipv6, mac = slots.addresses(slots.bridge(host.paths, engine.name), slot)
    now = _now(Folders.of(host.paths, wish.id))
    return Definition(
        id=wish.id,
        version=version,
        written=now,
        created=now if before is None else before.created,
        by=by,
        engine=decided.engine,
        image=wish.image,
        simple=wish.simple,
        slot=slot,
        level=level_of(slot),
        ipv4=ipv4,
        ipv6=ipv6,
        mac=mac,
        uid=None if wish.simple or not engine.maps_users else slots.uid_base(slot),
        host_user=find_host_user(decided.host_user, mapped=engine.maps_users),
        command=wish.command,
        entrypoint=wish.entrypoint,
        volume_config=wish.volume_config,
        slice=decided.slice,
        restart=decided.restart,
        limits=decided.limits,
        labels=wish.labels,
        stop_timeout=decided.stop_timeout,
        origins=dict(decided.origins),
        parts=parts,
    )


def _of_unit(definition: Definition) -> tuple[object, ...]:
    return definition.engine, definition.slice, definition.restart, definition.stop_timeout


def _now(folders: Folders) -> str:
    """When this version is written: later than all that are kept, also where the clock was set back meanwhile. A
    rollback goes by the order of these.
    """
    now = datetime.now(UTC)
    if newest := next((each.written for each in versions.recorded(folders)), ""):
        now = max(now, datetime.fromisoformat(newest) + timedelta(microseconds=1))
    return now.isoformat(timespec="microseconds")


_LATER: dict[str, Any] = {
    "version": "", "written": "", "created": "", "by": "", "image_id": "", "digest": "",
    "image_volumes": (), "origins": {}, "level": "",
}  # fmt: skip


def _same(before: Definition, asked: Definition) -> bool:
    """Whether two definitions ask for the same, whoever wrote them when."""
    plain = [
        msgspec.structs.replace(d, **_LATER, parts=tuple(sorted(d.parts, key=lambda p: p.key)))
        for d in (before, asked)
    ]
    return plain[0] == plain[1] and _asked(before) == _asked(asked)


def _asked(definition: Definition) -> set[str]:
    return {name for name, origin in definition.origins.items() if origin == ASKED}


def _check_version(folders: Folders, definition: Definition) -> None:
    """A request id names one version for ever: the same words again are a repetition, others a Conflict."""
    for kept in versions.recorded(folders) if (folders.versions / definition.version).exists() else ():
        if kept.version == definition.version and not _same(kept, definition):
            raise Conflict(f"request id {definition.version} installed something else as {folders.id} before")


def _drop_if_empty(folders: Folders) -> None:
    with suppress(OSError):
        folders.versions.rmdir()
        folders.bucket.rmdir()
