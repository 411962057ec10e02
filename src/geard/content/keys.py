"""The keys that links are sealed with: `content-tokens/keys/ID`. The newest seals; those before it still open."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from geard.content.requests import LONGEST_SECONDS
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, sweep

ID_BYTES = 4
KEY_BYTES = 32
RENEW_SECONDS = 30 * 24 * 3600


def folder(paths: Paths) -> Path:
    return paths.base / "content-tokens" / "keys"


def newest(paths: Paths, now: float | None = None) -> tuple[bytes, bytes]:
    """The id and the key to seal with, renewed every thirty days; those that no link can need go then."""
    now, where = time.time() if now is None else now, folder(paths)
    with Changes() as changes:
        changes.folder(where.parent, 0o700)
        changes.folder(where, 0o700)
        with locked(where):
            sweep(where)
            aged = sorted((path.stat().st_mtime, path) for path in where.iterdir())
            if aged and now - aged[-1][0] < RENEW_SECONDS:
                return bytes.fromhex(aged[-1][1].name), aged[-1][1].read_bytes()
            for made, path in aged[:-1]:
                if now - made > RENEW_SECONDS + 2 * LONGEST_SECONDS:
                    changes.remove(path)
            id, key = os.urandom(ID_BYTES), os.urandom(KEY_BYTES)
            changes.write(where / id.hex(), key, 0o600)
    return id, key


def find(paths: Paths, id: bytes) -> bytes | None:
    """None where there is no such key, or none any more."""
    with suppress(FileNotFoundError):
        return (folder(paths) / id.hex()).read_bytes()
    return None


def forget_all(paths: Paths) -> None:
    if not folder(paths).is_dir():
        return
    with Changes() as changes, locked(folder(paths)):
        for path in list(folder(paths).iterdir()):
            changes.remove(path)
