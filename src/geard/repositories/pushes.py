"""What a push has changed: a file in `.pushes`, left by the hook in geard-githost (git_hooks/post-receive).

    by SHA256:Zkh2…                 a key's fingerprint; `token NAME` and the like for who came by HTTP
    OLD NEW refs/heads/master       a line for each; all zeros for what was not there, or is not any more

It is a word of the repository's user, whose uid the file has, and of nobody else.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from geard.failures import Denied
from geard.host.paths import Paths
from geard.identifiers import derived_request_id
from geard.repositories import folders
from geard.repositories.refs import is_ref

LIMIT = 1 << 20
_CHANGE = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64}) (refs/.+)")
_BY = re.compile(r"[A-Za-z0-9+/:_.() -]{1,200}", re.ASCII)


@dataclass(frozen=True)
class Change:
    ref: str
    old: str
    """a commit's name; empty for a ref that is new"""
    new: str
    """empty for one that is gone"""

    def __str__(self) -> str:
        if not self.new:
            return f"{self.ref} deleted"
        return f"{self.ref} {self.old[:12]}..{self.new[:12]}" if self.old else f"{self.ref} {self.new[:12]}"


@dataclass(frozen=True)
class Push:
    repository: str
    by: str
    """who was let in: the fingerprint of a key, or a token's name"""
    changes: tuple[Change, ...]
    id: str = ""
    """the same for the same word of it"""
    at: float = 0.0
    """seconds since 1970"""

    def shown(self, most: int = 10) -> str:
        more = f" and {len(self.changes) - most} more" if len(self.changes) > most else ""
        return ", ".join(map(str, self.changes[:most])) + more


def parse_push(repository: str, text: str) -> Push:
    """Lines that are none are passed over."""
    first, _, rest = text.partition("\n")
    by = first.removeprefix("by ")
    changes: list[Change] = []
    for line in rest.split("\n"):
        found = _CHANGE.fullmatch(line)
        if found and is_ref(found[3]):
            old, new = (name if name.strip("0") else "" for name in found.group(1, 2))
            changes.append(Change(found[3], old, new))
    return Push(repository, by if _BY.fullmatch(by) else "", tuple(changes))


def taken(paths: Paths) -> Iterator[Push]:
    """Those that are left there, the oldest first; each goes when it has been taken and the next one is asked for.
    What is none of a repository's goes at once.
    """
    folder = folders.pushes_folder(paths)
    found: list[tuple[float, str, Push]] = []
    for name in os.listdir(folder) if folder.is_dir() else ():
        push: Push | None = None
        with suppress(OSError, Denied):
            fd = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                status = os.fstat(fd)
                if stat.S_ISREG(status.st_mode):
                    text = file.read(LIMIT).decode(errors="replace")
                    push = parse_push(folders.of_uid(paths, status.st_uid), text)
                    id = derived_request_id(f"{name} {status.st_uid} {status.st_mtime_ns}\n{text}")
                    found.append((status.st_mtime, name, replace(push, id=id, at=status.st_mtime)))
        if push is None:
            _remove(folder, name)
    for _, name, each in sorted(found, key=lambda each: each[:2]):
        yield each
        _remove(folder, name)


def _remove(folder: os.PathLike[str], name: str) -> None:
    path = os.path.join(folder, name)
    with suppress(FileNotFoundError):
        try:
            os.unlink(path)
        except IsADirectoryError:
            os.rename(path, os.path.join(os.path.dirname(folder), f".gone-{name}"))  # `mend` removes it
