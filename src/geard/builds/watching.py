"""Repositories of this host whose pushes are built: what is wanted of each, and which commit was built last.

geard-pushed.service has them looked at after each push, and the agent when it starts. What a branch leads to is
read where git keeps it: a push of which nobody was told is built with the next.

    git-users/1000.build        the order of the repository whose number that is

By the number it goes along with a new name, and ends with the repository: what deletes that removes it as well.
"""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import msgspec

from geard.builds import records
from geard.builds.records import Folders, Order
from geard.builds.requests import BuildImage
from geard.failures import Invalid, NotFound
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, read_text
from geard.identifiers import derived_request_id
from geard.repositories import folders
from geard.words import Word, decode, encode

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SIZE = 4_096


class Watch(Word):
    repository: str
    """its name now, whatever the file says"""
    wish: BuildImage
    """but for the source and the build's name"""
    ref: str = ""
    """a branch; empty for the one that a clone checks out"""
    built: str = ""
    """the commit that was built last, or tried"""
    since: str = ""
    """the request by which this came to be: ids of builds follow from it"""
    count: int = 0
    """of the builds so far: a branch may come back to a commit"""


def keep(paths: Paths, watch: Watch) -> None:
    """Asked again for the same, it goes on with what it knows. Raises NotFound."""
    adopt_earlier(paths)
    with _alone(paths):
        file = _file(paths, watch.repository)
        there = _kept(file, watch.repository)
        if there is None or (there.wish, there.ref) != (watch.wish, watch.ref):
            _write(file, watch)


def remove(paths: Paths, id: str) -> bool:
    """False where it was not there, or the repository is not."""
    adopt_earlier(paths)
    with suppress(NotFound), _alone(paths), Changes() as changes:
        return changes.remove(_file(paths, id))
    return False


def watches(paths: Paths) -> list[Watch]:
    adopt_earlier(paths)
    found: list[Watch] = []
    for id in folders.listed(paths):
        with suppress(NotFound, OSError):  # deleted just now
            if watch := _kept(_file(paths, id), id):
                found.append(watch)
    return found


def begin(paths: Paths, repository: str) -> str:
    """Put the build of what its branch leads to now on disk, once for each push; its id, or empty for none."""
    with _alone(paths):
        try:
            file = _file(paths, repository)
        except NotFound:  # deleted, or renamed, just now
            return ""
        watch = _kept(file, repository)
        commit = tip(folders.path(paths, repository), watch.ref) if watch is not None else ""
        if watch is None or commit in ("", watch.built):
            return ""
        request, wish = wish_for(watch, commit)
        id = _free_name(paths, wish.name, request)
        order = Order(request=request, asker=f"a push to {repository}", asked=records.now(), wish=wish)
        try:
            records.create(paths, id, order)
        finally:
            # One that is refused is not tried again and again: the next push is.
            _write(file, msgspec.structs.replace(watch, built=commit, count=watch.count + 1))
    return id


def adopt_earlier(paths: Paths) -> None:
    """Up to November 2026 orders were kept by names, `builds/.pushes/NAME.json`. One whose repository is gone is
    dropped: whoever takes the name later has not asked for it.
    """
    earlier = records.base(paths) / ".pushes"
    if not earlier.is_dir():
        return
    with _alone(paths), Changes() as changes:
        for file in sorted(earlier.glob("*.json")):
            _adopt(paths, changes, file)
        changes.remove_tree(earlier)


def _adopt(paths: Paths, changes: Changes, file: Path) -> None:
    with suppress(NotFound):
        place, text = _file(paths, file.stem), read_text(file)
        if text is not None and not place.exists():
            changes.write(place, text, 0o600)
            changes.sync()
    changes.remove(file)


def _free_name(paths: Paths, name: str, request: str) -> str:
    """The next that no other build has; one that was cut short while it was made has its own."""
    for number in range(1, 10_000):
        found = name if number == 1 else f"{name}-{number}"
        order = records.read_order(Folders.of(paths, found))
        if order is None or order.request == request:
            return found
    return name


def _alone(paths: Paths) -> AbstractContextManager[None]:
    """Nobody renames or deletes a repository meanwhile; there may be none at all."""
    here = folders.folder(paths)
    return locked(here) if here.is_dir() else nullcontext()


def _file(paths: Paths, repository: str) -> Path:
    """Raises NotFound."""
    return folders.users_folder(paths) / f"{folders.number(paths, repository)}.build"


def _kept(file: Path, repository: str) -> Watch | None:
    try:
        found = decode(Watch, read_text(file) or "")
    except Invalid:
        return None  # not there, or another version's
    wish = msgspec.structs.replace(found.wish, source=f"repo://{repository}")
    return msgspec.structs.replace(found, repository=repository, wish=wish)


def _write(file: Path, watch: Watch) -> None:
    with Changes() as changes:
        changes.write(file, encode(watch), 0o600)


def tip(repository: Path, ref: str) -> str:
    """The commit that a branch leads to, as git's files say; empty where there is none yet."""
    if not ref:
        head = _read(repository / "HEAD")
        ref = head.removeprefix("ref: refs/heads/").strip() if head.startswith("ref: refs/heads/") else ""
    parts = ref.split("/")
    if not ref or not {"", ".", ".."}.isdisjoint(parts):
        return ""
    loose = _read(repository / "refs/heads" / ref).strip()
    if _COMMIT.fullmatch(loose):
        return loose
    for line in _read(repository / "packed-refs", 1_048_576).splitlines():
        commit, _, name = line.partition(" ")
        if name == f"refs/heads/{ref}" and _COMMIT.fullmatch(commit):
            return commit
    return ""


def wish_for(watch: Watch, commit: str) -> tuple[str, BuildImage]:
    """The request, and its id: for one push always the same, so that it is built once. Pure."""
    id = derived_request_id(f"{watch.since} {watch.count} {watch.repository} {commit}")
    name = f"{watch.repository[:50]}-{commit[:10]}"
    return id, msgspec.structs.replace(watch.wish, source=f"repo://{watch.repository}#{commit}", name=name)


def _read(path: Path, most: int = _SIZE) -> str:
    """A file of the repository's own user: never through a link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(most).decode(errors="replace")
