"""Secrets on disk: `secrets/NAME`, in a folder and in files that only root reads. Not encrypted: docs/SECURITY.md
says why.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from geard.failures import AlreadyExists, NotFound, PreconditionFailed, Unavailable
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, names, sweep
from geard.secrets.file import Secret, load, render
from geard.secrets.requests import ListedSecret
from geard.secrets.uses import check_secret, in_words

METADATA = "X-Secret"


def folder(paths: Paths) -> Path:
    return paths.base / "secrets"


def read(paths: Paths, name: str) -> Secret:
    """Raises NotFound, Unavailable."""
    return load(str(folder(paths)), check_secret(name))


def keep(paths: Paths, changes: Changes, name: str, value: bytes, version: str, *, replace: bool) -> bool:
    """Keep the value; False where that is kept already. Raises AlreadyExists for another without `replace`."""
    changes.folder(folder(paths), 0o700)
    with locked(folder(paths)):
        sweep(folder(paths))
        path, now = folder(paths) / name, datetime.now(UTC).isoformat(timespec="seconds")
        known = _readable(paths, name)
        if known is not None and known.value == value:
            return False
        if path.exists() and not replace:
            raise AlreadyExists(f"secret {name} has another value", hint="--replace gives it this one")
        created = known.created if known is not None else now
        changes.write(path, render(Secret(created, now, version, value)), 0o600)
    return True


def remove(paths: Paths, changes: Changes, name: str, *, force: bool) -> bool:
    """False where it was not there. Raises PreconditionFailed where gears are given it and `force` is not."""
    if not (folder(paths) / name).exists():
        return False
    using = users(paths).get(name, ())
    if using and not force:
        raise PreconditionFailed(
            f"cannot remove secret {name}: {in_words(using)} {'uses' if len(using) == 1 else 'use'} it",
            hint="install without it first; or --force, and they cannot start any more",
        )
    with locked(folder(paths)):
        sweep(folder(paths))
        return changes.remove(folder(paths) / name)


def listed(paths: Paths) -> tuple[ListedSecret, ...]:
    using = users(paths)
    found: list[ListedSecret] = []
    for name in names(folder(paths)):
        secret = _readable(paths, name) or Secret("", "", "", b"")
        found.append(
            ListedSecret(
                id=name, created=secret.created, changed=secret.changed, used_by=tuple(using.get(name, ()))
            )
        )
    return tuple(found)


def users(paths: Paths) -> dict[str, list[str]]:
    """secret -> the gears whose definition in force is given it, as their units say. Reads every unit file."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((paths.base / "units").glob("*/ctr-*.service")):
        with suppress(FileNotFoundError):  # deleted just now
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                key, _, name = line.partition("=")
                if key == METADATA:
                    found[name].append(path.stem.removeprefix("ctr-"))
    return found


def _readable(paths: Paths, name: str) -> Secret | None:
    """None where it is not there, or damaged."""
    with suppress(NotFound, Unavailable):
        return read(paths, name)
    return None
