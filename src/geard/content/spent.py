"""Links that were used up: `content-tokens/spent/EXPIRY-DIGEST`, durable before what they ask is done."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from geard.failures import Denied
from geard.host.paths import Paths
from geard.host.storage import Changes

KEEP_SECONDS = 7 * 24 * 3600
"""beyond the expiry: so long may a clock be wrong"""


def digest(sealed: str) -> str:
    return hashlib.sha256(sealed.encode(errors="replace")).hexdigest()[:32]


def spend(paths: Paths, sealed: str, expires: float) -> None:
    """Raises Denied where it was spent before: of two at once, one gets through."""
    folder = paths.base / "content-tokens" / "spent"
    with Changes() as changes:
        changes.folder(folder.parent, 0o700)
        changes.folder(folder, 0o700)
        try:
            changes.symlink("spent", folder / f"{int(expires)}-{digest(sealed)}")
        except FileExistsError:
            raise Denied("this link was used, and works once", hint="ask its maker for another") from None
        _tidy(changes, folder, time.time() - KEEP_SECONDS)


def _tidy(changes: Changes, folder: Path, before: float) -> None:
    for name in os.listdir(folder):
        with suppress(ValueError):
            if int(name.partition("-")[0]) < before:
                changes.remove(folder / name)
