"""Keys on disk, as the README has them; sshd's question is answered from here (unit_hooks/authorized_keys.py).

    keys/Zk/Zkh2AzzyVqbkXKnpCXhIBtLnN9fHyDqN8hPc0OXNzn0     `TYPE BASE64`, under SHA-256 of the key, in base64url
    access/containers/we/web-1/Zkh2Azzy…                    a link to it: it opens web-1

A gear's links are changed with its lock held, so that none comes behind its deletion; what of keys/ has no link
any more goes, under a lock of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from geard.containers.folders import Folders
from geard.failures import Conflict, Invalid, no_such_gear
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, read_text
from geard.identifiers import bucket
from geard.keys.public import PublicKey, shown
from geard.keys.requests import ListedKey


def keys_folder(paths: Paths) -> Path:
    return paths.base / "keys"


def access_folder(paths: Paths) -> Path:
    return paths.base / "access/containers"


def gear_folder(paths: Paths, id: str) -> Path:
    return access_folder(paths) / bucket(id) / id


def key_path(paths: Paths, id: str) -> Path:
    return keys_folder(paths) / bucket(id) / id


def add(paths: Paths, keys: Sequence[PublicKey], ids: Sequence[str]) -> None:
    """Raises NotFound for a gear that is not there: nothing has changed then."""
    gears = [Folders.of(paths, id) for id in ids]
    for gear in gears:
        if not gear.unit.exists():
            raise no_such_gear(gear.id)
    made: list[Path] = []
    with Changes() as changes:
        try:
            for gear in gears:
                with locked(gear.versions), locked(keys_folder(paths)):
                    if not gear.unit.exists():  # it was deleted just now
                        raise no_such_gear(gear.id)
                    for key in keys:
                        _keep(paths, changes, key)
                        made += _link(paths, changes, key.id, gear.id)
        except BaseException:
            for link in made:
                changes.remove(link)
            raise


def _keep(paths: Paths, changes: Changes, key: PublicKey) -> None:
    path = key_path(paths, key.id)
    known = read_text(path)
    if known is None:
        changes.folder(path.parent)
        changes.write(path, key.text)
    elif known != key.text:
        raise Conflict(f"{path} does not hold the key of its name", hint="remove that file, and ask again")


def _link(paths: Paths, changes: Changes, key: str, id: str) -> list[Path]:
    """The link, where it was made just now."""
    link = gear_folder(paths, id) / key
    if link.is_symlink():
        return []
    changes.folder(link.parent)
    changes.point(link, Path("../../../../keys") / bucket(key) / key)
    return [link]


def listed(paths: Paths, id: str = "") -> Iterator[ListedKey]:
    for gear in [id] if id else sorted(_names(access_folder(paths), 2)):
        for key in sorted(_names(gear_folder(paths, gear), 1)):
            text = read_text(gear_folder(paths, gear) / key)
            if text:  # else it is being removed just now
                kind, _, value = text.partition(" ")
                yield ListedKey(id=gear, type=kind, fingerprint=shown(key), value=f"{kind} {value.strip()}")


def remove(paths: Paths, changes: Changes, id: str, start: str) -> list[str]:
    """Take the links of a gear to the key that begins so (to all, where it is empty). Raises Invalid."""
    folder = gear_folder(paths, id)
    with locked(keys_folder(paths)):
        found = sorted(name for name in _names(folder, 1) if name.startswith(start))
        if start and len(found) > 1:
            raise Invalid(f"{shown(start)} is the beginning of {len(found)} keys", hint="gear list-keys")
        for key in found:
            changes.remove(folder / key)
        _tidy(paths, changes, found)
    return [shown(key) for key in found]


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
    gears = [gear_folder(paths, gear) for gear in _names(access_folder(paths), 2)]
    for key in keys:
        if not any(os.path.lexists(gear / key) for gear in gears):
            changes.remove(key_path(paths, key))
            with suppress(OSError):
                key_path(paths, key).parent.rmdir()


def _names(folder: Path, depth: int) -> list[str]:
    """What is so deep in a folder; drafts of killed writers are passed over."""
    try:
        found = [name for name in os.listdir(folder) if not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    if depth == 1:
        return found
    return [name for each in found for name in _names(folder / each, depth - 1)]
