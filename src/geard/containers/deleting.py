"""Taking a gear away: first from sight, durably, and then, when nothing of it runs, all that it held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from geard.containers import asleep, bounding, slots, versions
from geard.containers.folders import Folders
from geard.containers.installing import release_unrecorded
from geard.containers.units import gear_of
from geard.facet import AnyFacet
from geard.host import Host
from geard.host.storage import Changes, locked
from geard.identifiers import bucket
from geard.words import part_of


def hide(host: Host, id: str, facets: Sequence[AnyFacet], *, purge: bool) -> bool:
    """The gear is not there any more, whatever happens next; False where there was nothing.

    What is left is found by its `deleting` file, and `clear` takes it away, now or after a crash. The definition
    is left too: systemd reads it once more to stop what runs.
    """
    folders = Folders.of(host.paths, id)
    there = folders.unit.exists() or folders.versions.is_dir() or folders.known.is_symlink()
    if purge:
        there = there or folders.data.exists() or any(f.remains(host, gear_of(folders)) for f in facets)
    if not there:
        return False
    with Changes() as changes, locked(folders.versions):
        if purge:
            changes.mark(folders.purging)
        changes.mark(folders.deleting)
        _hide(folders, changes)
    return True


def _hide(folders: Folders, changes: Changes) -> None:
    asleep.forget(folders, changes)
    changes.remove(folders.wanted)
    changes.remove(folders.unit)
    changes.remove(folders.known)


def clear(host: Host, id: str, facets: Sequence[AnyFacet]) -> None:
    """Give back what a deleted gear held, or one whose first install was cut. Nothing of it runs any more.

    A gear of that name made since is kept.
    """
    folders = Folders.of(host.paths, id)
    if not folders.versions.is_dir():
        return
    with locked(folders.versions), Changes() as changes:
        if folders.deleting.exists():
            _hide(folders, changes)
        elif folders.unit.exists():
            return
        purge = folders.purging.exists()
        known = versions.recorded(folders)
        if folders.claiming.exists():
            release_unrecorded(host, folders, changes, known, facets)
        for facet in facets:
            recorded = [part for d in known if (part := part_of(facet.part, d.parts)) is not None]
            facet.release(host, changes, gear_of(folders), recorded, purge=purge)
        if purge:
            if folders.data.is_dir():
                host.disk_quotas.forget(folders.data)
            changes.remove_tree(folders.data)
        if not folders.data.exists():
            held: set[int | None] = {definition.slot for definition in known}
            for slot in held or {slots.kept(host.paths, folders.unit)}:
                if slot is not None:
                    host.disk_quotas.release(host.paths.base / "data", bounding.project_of(slot))
                    slots.release(host.paths, changes, slot, folders.unit)
        changes.remove(folders.run)
        changes.remove_tree(folders.state)
        for path in folders.versions.iterdir():
            if path != folders.deleting:
                changes.remove_tree(path)
        changes.remove_tree(folders.versions)  # with `deleting`, which thus went last
        with suppress(OSError):
            folders.bucket.rmdir()


def left_over(host: Host) -> Iterator[str]:
    """The ids of gears whose deletion, or first install, was cut short."""
    for path in (host.paths.base / "units").glob("*/*/"):
        if bucket(path.name) == path.parent.name and path.is_dir():
            folders = Folders(host.paths, path.name)
            if folders.deleting.exists() or not folders.unit.exists():
                yield path.name
