"""Keys on disk, as the README has them; sshd's question is answered from here (unit_hooks/authorized_keys.py).

    keys/Zk/Zkh2AzzyVqbkXKnpCXhIBtLnN9fHyDqN8hPc0OXNzn0     `TYPE BASE64`, under SHA-256 of the key, in base64url
    access/containers/we/web-1/Zkh2Azzy…                    a link to it: it opens web-1
    access/git/read/sh/shop/Zkh2Azzy…                       … the repository shop, to fetch
    access/git/write/sh/shop/Zkh2Azzy…                      … and to push; never both

The links of a gear, or of a repository, are changed with its lock held, so that none comes behind its deletion;
what of keys/ has no link any more goes, under a lock of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from geard.containers.folders import Folders
from geard.failures import Conflict, Invalid, NotFound, no_such_gear
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, names, read_text
from geard.identifiers import bucket
from geard.keys.public import PublicKey, shown
from geard.keys.requests import KeyedRepository, ListedKey

Way = Literal["read", "write"]
WAYS: tuple[Way, ...] = ("read", "write")


def keys_folder(paths: Paths) -> Path:
    return paths.base / "keys"


def access_folder(paths: Paths) -> Path:
    return paths.base / "access/containers"


def gear_folder(paths: Paths, id: str) -> Path:
    return access_folder(paths) / bucket(id) / id


def key_path(paths: Paths, id: str) -> Path:
    return keys_folder(paths) / bucket(id) / id


def repository_folder(paths: Paths, id: str, way: Way) -> Path:
    return paths.base / "access/git" / way / bucket(id) / id


def repositories_folder(paths: Paths) -> Path:
    """Where repositories are, each a folder of its name; it is the lock of all."""
    return paths.base / "git"


def way(*, write: bool) -> Way:
    return "write" if write else "read"


def add(
    paths: Paths,
    keys: Sequence[PublicKey],
    ids: Sequence[str],
    repositories: Sequence[KeyedRepository] = (),
) -> None:
    """Raises NotFound for a gear or a repository that is not there: nothing has changed then."""
    gears = [Folders.of(paths, id) for id in ids]
    for gear in gears:
        if not gear.unit.exists():
            raise no_such_gear(gear.id)
    for repository in repositories:
        check_there(paths, repository.id)
    made: list[Path] = []
    with Changes() as changes:
        try:
            for gear in gears:
                with locked(gear.versions), locked(keys_folder(paths)):
                    if not gear.unit.exists():  # it was deleted just now
                        raise no_such_gear(gear.id)
                    for key in keys:
                        _keep(paths, changes, key)
                        made += _link(paths, changes, key.id, gear_folder(paths, gear.id))
            for each in repositories:
                with locked(repositories_folder(paths)), locked(keys_folder(paths)):
                    check_there(paths, each.id)
                    for key in keys:
                        _keep(paths, changes, key)
                        made += _link(
                            paths, changes, key.id, repository_folder(paths, each.id, way(write=each.write))
                        )
                        changes.remove(repository_folder(paths, each.id, way(write=not each.write)) / key.id)
        except BaseException:
            for link in made:
                changes.remove(link)
            raise


def check_there(paths: Paths, repository: str) -> None:
    """Raises NotFound."""
    if not (repositories_folder(paths) / repository).is_dir():
        raise NotFound(f"there is no repository {repository} here", hint="gear list-repos shows which there are")


def _keep(paths: Paths, changes: Changes, key: PublicKey) -> None:
    path = key_path(paths, key.id)
    known = read_text(path)
    if known is None:
        changes.folder(path.parent)
        changes.write(path, key.text)
    elif known != key.text:
        raise Conflict(f"{path} does not hold the key of its name", hint="remove that file, and ask again")


def _link(paths: Paths, changes: Changes, key: str, folder: Path) -> list[Path]:
    """The link, where it was made just now."""
    link = folder / key
    if link.is_symlink():
        return []
    changes.folder(folder)
    changes.point(link, os.path.relpath(key_path(paths, key), folder))
    return [link]


def listed(paths: Paths, id: str = "") -> Iterator[ListedKey]:
    """Which keys open that gear, or all gears."""
    for gear in [id] if id else sorted(_names(access_folder(paths), 2)):
        for key, kind, value in _read(gear_folder(paths, gear)):
            yield ListedKey(id=gear, type=kind, fingerprint=shown(key), value=value)


def listed_of_repositories(paths: Paths, id: str = "") -> Iterator[ListedKey]:
    every = {name for each in WAYS for name in _names(paths.base / "access/git" / each, 2)}
    for repository in [id] if id else sorted(every):
        for each in WAYS:
            for key, kind, value in _read(repository_folder(paths, repository, each)):
                yield ListedKey(id=repository, type=kind, fingerprint=shown(key), value=value, repository=each)


def _read(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Name, type and text of the keys that a folder's links lead to."""
    for key in sorted(_names(folder, 1)):
        text = read_text(folder / key)
        if text:  # else it is being removed just now
            kind, _, value = text.partition(" ")
            yield key, kind, f"{kind} {value.strip()}"


def remove(paths: Paths, changes: Changes, id: str, start: str) -> list[str]:
    """Take the links of a gear to the key that begins so (to all, where it is empty). Raises Invalid."""
    return _remove(paths, changes, [gear_folder(paths, id)], start)


def remove_of_repository(paths: Paths, changes: Changes, id: str, start: str) -> list[str]:
    return _remove(paths, changes, [repository_folder(paths, id, each) for each in WAYS], start)


def _remove(paths: Paths, changes: Changes, folders: Sequence[Path], start: str) -> list[str]:
    with locked(keys_folder(paths)):
        links = [folder / name for folder in folders for name in _names(folder, 1) if name.startswith(start)]
        found = sorted({link.name for link in links})
        if start and len(found) > 1:
            raise Invalid(f"{shown(start)} is the beginning of {len(found)} keys", hint="gear list-keys")
        for link in links:
            changes.remove(link)
        _tidy(paths, changes, found)
    return [shown(key) for key in found]


def may_write(paths: Paths, repository: str, key: str) -> bool | None:
    """Whether the key of that name may push to it; None where it does not even open it."""
    for each in WAYS:
        if os.path.lexists(repository_folder(paths, repository, each) / key):
            return each == "write"
    return None


def rename_repository(paths: Paths, changes: Changes, old: str, new: str) -> None:
    """Its links go along. Whatever a killed one left at the new name is replaced."""
    with locked(keys_folder(paths)):
        for each in WAYS:
            source, target = repository_folder(paths, old, each), repository_folder(paths, new, each)
            for key in _names(source, 1):
                _link(paths, changes, key, target)
            changes.remove_tree(source)


def forget_repository(paths: Paths, changes: Changes, id: str) -> None:
    """It is gone: one of that name that comes later is opened by none of its keys."""
    with locked(keys_folder(paths)):
        folders = [repository_folder(paths, id, each) for each in WAYS]
        found = sorted({name for folder in folders for name in _names(folder, 1)})
        for folder in folders:
            changes.remove_tree(folder)
            with suppress(OSError):
                folder.parent.rmdir()
        _tidy(paths, changes, found)


def count(paths: Paths, id: str) -> int:
    return len(_names(gear_folder(paths, id), 1))


def forget_gear(paths: Paths, changes: Changes, id: str) -> None:
    """It is gone: one of that name that comes later is opened by none of its keys."""
    folder = gear_folder(paths, id)
    if not folder.is_dir():
        return
    with locked(keys_folder(paths)):
        found = _names(folder, 1)
        changes.remove_tree(folder)
        with suppress(OSError):
            folder.parent.rmdir()
        _tidy(paths, changes, found)


def _tidy(paths: Paths, changes: Changes, keys: Sequence[str]) -> None:
    """Of these keys, those that open nothing any more go."""
    if not keys:
        return
    opened = [gear_folder(paths, gear) for gear in _names(access_folder(paths), 2)]
    for each in WAYS:
        opened += [repository_folder(paths, id, each) for id in _names(paths.base / "access/git" / each, 2)]
    for key in keys:
        if not any(os.path.lexists(folder / key) for folder in opened):
            changes.remove(key_path(paths, key))
            with suppress(OSError):
                key_path(paths, key).parent.rmdir()


def _names(folder: Path, depth: int) -> list[str]:
    """What is so deep in a folder."""
    if depth == 1:
        return names(folder)
    return [name for each in names(folder) for name in _names(folder / each, depth - 1)]
