"""What is known of builds, below `/var/lib/containers/builds`.

ID/order.json    what was asked; its being there makes the build
ID/state.json    where it stands, written whole at each step, and what came of it
ID/output…       what it printed (geard/jobs/output.py)
ID/begun         its unit was started
ID/cancelled     somebody wants it ended
ID/slot          the number its users and address follow from
ID/work/         source, scripts, artifacts: gone when it has ended
ID/source        what was sent here to be built (sending.py): gone when it has ended
.turns/N         locks: who holds one builds
.tags/DIGEST     … one for each tag that is being made
.caches/DIGEST   what builds of one source keep for the next
.sources/ID      sources that were sent here, and wait for their build
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import msgspec

from geard.builds.requests import Build, BuildImage
from geard.builds.sources import parse_source
from geard.failures import AlreadyExists, Invalid, NotFound
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, names, read_text
from geard.host.systemd import UnitState
from geard.identifiers import check_id
from geard.words import Word, decode, encode

ENDED = ("done", "failed", "cancelled")
CUT = "it was cut short: the machine went down, or its unit was removed"


class Order(Word):
    """What stands on disk of what was asked."""

    request: str
    """the id of the request: asked again by it, it is the same build"""
    asker: str
    asked: str
    wish: BuildImage
    usage: bool = False
    """run the builder's usage alone"""


@dataclass(frozen=True)
class Folders:
    """The paths of one build; its id has been checked."""

    paths: Paths
    id: str

    @classmethod
    def of(cls, paths: Paths, id: str) -> Folders:
        return cls(paths, check_id(id, "build"))

    @cached_property
    def base(self) -> Path:
        return base(self.paths) / self.id

    @cached_property
    def order(self) -> Path:
        return self.base / "order.json"

    @cached_property
    def state(self) -> Path:
        return self.base / "state.json"

    @cached_property
    def cancelled(self) -> Path:
        return self.base / "cancelled"

    @cached_property
    def work(self) -> Path:
        return self.base / "work"

    @cached_property
    def source(self) -> Path:
        return self.base / "source"

    @cached_property
    def slot(self) -> Path:
        return self.base / "slot"

    @cached_property
    def begun(self) -> Path:
        """There once its unit was started."""
        return self.base / "begun"

    @property
    def unit(self) -> str:
        return unit_name(self.id)


def base(paths: Paths) -> Path:
    return paths.base / "builds"


def sent(paths: Paths, id: str) -> Path:
    """Where a source lies that was sent here, until its build is made."""
    return sources(paths) / check_id(id, "source")


def caches(paths: Paths) -> Path:
    return base(paths) / ".caches"


def sources(paths: Paths) -> Path:
    return base(paths) / ".sources"


def unit_name(id: str) -> str:
    return f"build-{id}.service"


def container_name(id: str) -> str:
    """The engine's name of the container in which a build's scripts run."""
    return f"build-{id}"


def id_for(name: str, request: str) -> str:
    """A build's id: its name, else one that follows from the request's. Raises Invalid."""
    return check_id(name, "build") if name else hashlib.sha256(request.encode()).hexdigest()[:10]


def now() -> str:
    return render_time(time.time())


def cache_name(source: str, *words: str) -> str:
    """The folder that builds of one source and tag keep for a path inside."""
    words = ("sent" if source.startswith("sent://") else source, *words)  # each that is sent has a name of its own
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]


def slice_name(id: str) -> str:
    """The slice of all that a build runs. In the name of one a '-' would mean a slice inside another."""
    return f"geard-build-{hashlib.sha256(id.encode()).hexdigest()[:16]}.slice"


def render_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_between(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def create(paths: Paths, id: str, order: Order) -> None:
    """Put a build on disk, before it is begun; by the same request again it is there.

    Raises AlreadyExists; NotFound where its source was not sent.
    """
    folders, source = Folders.of(paths, id), parse_source(order.wish.source or "-", order.wish.ref)
    with Changes() as changes:
        changes.folder(base(paths), 0o700)
        with locked(base(paths)):
            there = read_order(folders)
            if there is not None and there.request == order.request:
                return
            if there is not None:
                raise AlreadyExists(
                    f"there is a build {id} already", hint=f"another name, or gear builds remove {id}"
                )
            if source.kind == "sent":
                _take(paths, changes, folders, source.at)
            changes.folder(folders.base, 0o700)
            changes.write(folders.state, encode(_begun(id, order)).decode(), 0o600)
            changes.write(folders.order, encode(order).decode(), 0o600)
            changes.sync()


def _take(paths: Paths, changes: Changes, folders: Folders, id: str) -> None:
    """What was sent becomes this build's; a killed one that is asked again has it already."""
    at = sent(paths, id)
    if not at.exists() and not folders.source.exists():
        raise NotFound(f"no source {id} was sent here, or more than an hour ago", hint="PUT /build-source/ID")
    changes.folder(folders.base, 0o700)
    if at.exists():
        os.rename(at, folders.source)


def _begun(id: str, order: Order) -> Build:
    wish = order.wish
    return Build(
        id=id,
        tag=wish.tag,
        source=str(parse_source(wish.source, wish.ref)) if wish.source else "",
        base_image=wish.base_image,
        runtime_image=wish.runtime_image,
        asked=order.asked,
        start=wish.start,
        asker=order.asker,
    )


def read_order(folders: Folders) -> Order | None:
    text = read_text(folders.order)
    return None if text is None else decode(Order, text)


def read_build(folders: Folders) -> Build | None:
    """As its unit wrote it last."""
    text = read_text(folders.state)
    if text is None or not folders.order.exists():
        return None
    try:
        return decode(Build, text)
    except Invalid:
        return None  # written by another version of geard


def write_build(folders: Folders, build: Build) -> None:
    with Changes() as changes:
        changes.write(folders.state, encode(build).decode(), 0o600)
        changes.sync()


def listed(paths: Paths) -> list[str]:
    return names(base(paths))


def seen(build: Build, units: Mapping[str, UnitState], *, begun: bool) -> Build:
    """A build beside what systemd says of its unit. Pure.

    `begun` is whether its unit was ever started: what has not ended and has no unit any more was cut.
    """
    unit = units.get(unit_name(build.id))
    active, sub = (unit.active, unit.sub) if unit is not None else ("inactive", "dead")
    state, reason = build.state, build.reason
    if build.state not in ENDED and begun and active in ("inactive", "failed") and not (unit and unit.job):
        state, reason = "failed", CUT
    return msgspec.structs.replace(build, active_state=active, sub_state=sub, state=state, reason=reason)


def check_there(folders: Folders) -> Build:
    """Raises NotFound."""
    found = read_build(folders)
    if found is None:
        raise NotFound(f"there is no build {folders.id} here", hint="gear builds list shows those there are")
    return found


def remove(folders: Folders) -> bool:
    """Forget a build that has ended; False where it was not there."""
    with Changes() as changes, locked(base(folders.paths)):
        if not folders.base.exists():
            return False
        changes.remove(folders.order)
        changes.remove_tree(folders.base)
    return True


def surplus(builds: list[Build], keep: int, keep_seconds: float, at: float) -> list[str]:
    """The ids of those that have ended and are kept no longer. Pure."""
    ended = sorted((each for each in builds if each.state in ENDED and each.ended), key=lambda each: each.ended)
    old = [each.id for each in ended if at - datetime.fromisoformat(each.ended).timestamp() > keep_seconds]
    many = [each.id for each in ended[: max(0, len(ended) - keep)]]
    return list(dict.fromkeys([*old, *many]))
