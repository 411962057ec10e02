"""The links of gears on disk: `ports/links/ab/ID`, changed with the gear's lock held."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geard.failures import Unavailable
from geard.host import Host
from geard.host.paths import Paths
from geard.host.storage import Changes, read_text
from geard.identifiers import bucket, check_id
from geard.links import file, live
from geard.links.file import Link
from geard.links.live import Place, Standing


def place(paths: Paths, id: str) -> Place:
    return Place(str(paths.base), str(paths.run), check_id(id))


def path(paths: Paths, id: str) -> Path:
    return paths.base / "ports" / "links" / bucket(check_id(id)) / id


def load(paths: Paths, id: str) -> tuple[Link, ...]:
    return file.parse(read_text(path(paths, id)) or "")


def keep(paths: Paths, changes: Changes, id: str, links: Sequence[Link]) -> bool:
    """False where they were just these. Without links there is no file."""
    where = path(paths, id)
    draft = where.with_name(f".{id}.tmp")
    text = file.render(links)
    if not where.parent.is_dir() and not text:
        return False
    if (read_text(where) or "") == text:
        changes.remove(draft)
        return False
    if text:
        changes.folder(where.parent)
        changes.write(where, text, draft=draft)
    else:
        changes.remove(draft)
        changes.remove(where)
    return True


def follow(host: Host, id: str) -> Standing | None:
    """Have a gear that runs led as its links say now (live.follow). Raises Unavailable."""
    try:
        return live.follow(place(host.paths, id), host.rules.load)
    except OSError as error:
        raise Unavailable(
            f"the links of {id} are on record, and not in force: {error}",
            hint=f"gear restart {id}; gear links {id} shows them",
        ) from None
