"""Repositories of this host whose pushes are built: what is wanted of each, and which commit was built last.

A branch is looked at where git keeps it, so no push is missed, whoever ran when it came.

    builds/.pushes/NAME.json
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path

import msgspec

from geard.builds import records
from geard.builds.requests import BuildImage
from geard.failures import Invalid, NotFound
from geard.host.paths import Paths
from geard.host.storage import Changes, read_text
from geard.words import Word, decode, encode

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SIZE = 4_096


class Watch(Word):
    repository: str
    wish: BuildImage
    """but for the source's commit and the build's name"""
    ref: str = ""
    """a branch; empty for the one that a clone checks out"""
    built: str = ""
    """the commit that was built last, or tried"""


def folder(paths: Paths) -> Path:
    return records.base(paths) / ".pushes"


def check_repository(paths: Paths, id: str) -> Path:
    """Raises NotFound."""
    found = paths.base / "git" / id
    if not found.is_dir():
        raise NotFound(f"there is no repository {id} here", hint=f"gear create-repo {id}")
    return found


def write(paths: Paths, watch: Watch) -> None:
    with Changes() as changes:
        changes.folder(records.base(paths), 0o700)
        changes.folder(folder(paths), 0o700)
        changes.write(folder(paths) / f"{watch.repository}.json", encode(watch).decode(), 0o600)
        changes.sync()


def remove(paths: Paths, id: str) -> bool:
    with Changes() as changes:
        return changes.remove(folder(paths) / f"{id}.json")


def watches(paths: Paths) -> list[Watch]:
    found: list[Watch] = []
    for file in sorted(folder(paths).glob("*.json")) if folder(paths).is_dir() else ():
        try:
            found.append(decode(Watch, read_text(file) or ""))
        except Invalid:
            continue  # another version's
    return found


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
    """The request, and its id: for one commit always the same, so that it is built once. Pure."""

    digest = hashlib.sha256(f"{watch.repository} {commit} {watch.wish.tag}".encode()).digest()
    id = base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()
    name = f"{watch.repository[:50]}-{commit[:10]}"
    source = f"repo://{watch.repository}#{commit}"
    if folder_of := watch.wish.source.partition("#")[2].partition(":")[2]:
        source += f":{folder_of}"
    return id, msgspec.structs.replace(watch.wish, source=source, name=name)


def _read(path: Path, most: int = _SIZE) -> str:
    """A file of the repository's own user: never through a link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        return file.read(most).decode(errors="replace")
