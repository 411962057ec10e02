"""What was granted to whom: a file each, below /var/lib/geard. Who has no file is not let in: revoking is `rm`.

    tokens/NAME         whoever sends the token
    certificates/NAME   who holds the key of one of these certificates
    invitations/NAME    whoever sends it may have a certificate of that name, once

Files are read again when they have changed, so a revocation acts on the next request, whoever made it.
"""

from __future__ import annotations

import hmac
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from geard.failures import Failure, Invalid, Unauthenticated
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, names, read_text, sweep
from geard.identifiers import check_id
from geard.request import SCOPES, Asker, Scope
from geard.trust.bearers import Bearer, digest
from geard.words import Word, decode, encode

Kind = Literal["token", "certificate", "invitation"]
KINDS: tuple[Kind, ...] = ("token", "certificate", "invitation")
_REMEMBERED = 1_000


class Grant(Word):
    name: str
    scope: Scope
    created: str
    proofs: tuple[str, ...]
    """digests, one of which is that of what is shown: the secret; the certificate in force, or one before it"""
    expires: str = ""
    """RFC 3339, both; empty: never"""
    only: tuple[str, ...] = ()
    by: str = ""
    used: str = ""
    """of an invitation: the digest of the key that it was used for"""

    def expired(self, now: datetime) -> bool:
        return bool(self.expires) and datetime.fromisoformat(self.expires) <= now


class Grants:
    """The grants of a machine, as they are just now. For one thread."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._read: dict[Path, tuple[tuple[int, int, int], Grant]] = {}

    def bearer(self, bearer: Bearer) -> Asker:
        """Who shows a token or an invitation. Raises Unauthenticated."""
        if bearer.fingerprint:
            self._shown("invitation", bearer.name, digest(bearer.secret))
            name = f"invitation {bearer.name}"
            return Asker(name, SCOPES["join"], credential=name)
        return asker_of("token", self._shown("token", bearer.name, digest(bearer.secret)))

    def certificate(self, name: str, proof: str) -> Asker:
        """Who holds a certificate of our authority's; `proof` is its digest. Raises Unauthenticated."""
        return asker_of("certificate", self._shown("certificate", name, proof))

    def _shown(self, kind: Kind, name: str, proof: str) -> Grant:
        grant = self._find(place(self._paths, kind, name))
        # every proof is compared, each in constant time
        if grant is None or not sum(hmac.compare_digest(known, proof) for known in grant.proofs):
            raise Unauthenticated(f"{kind} {name} is not known here, or was revoked", hint=_HINTS[kind])
        if grant.expired(datetime.now(UTC)):
            raise Unauthenticated(f"{kind} {name} has expired", hint=_HINTS[kind])
        return grant

    def _find(self, path: Path) -> Grant | None:
        """None where there is none that can be read."""
        try:
            status = os.stat(path)
        except OSError:
            self._read.pop(path, None)
            return None
        signature = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._read.get(path)
        if known is not None and known[0] == signature:
            return known[1]
        grant = read(path)
        if grant is not None:
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            self._read[path] = (signature, grant)
        return grant


_HINTS: dict[Kind, str] = {
    "token": "as root on that machine: gear token create NAME",
    "certificate": "as root on that machine: gear host invite NAME; here: gear host add",
    "invitation": "it works once, for an hour; as root on that machine: gear host invite NAME",
}


def asker_of(kind: Kind, grant: Grant) -> Asker:
    name = f"{kind} {grant.name}"
    return Asker(name, SCOPES[grant.scope], only=grant.only, credential=name)


def folder(paths: Paths, kind: Kind) -> Path:
    return paths.state / f"{kind}s"


def place(paths: Paths, kind: Kind, name: str) -> Path:
    return folder(paths, kind) / check_id(name, kind)


def read(path: Path) -> Grant | None:
    """None where it is not there or not to be read: it then lets nobody in."""
    try:
        text = read_text(path)
        grant = decode(Grant, text) if text is not None else None
        if grant is not None:
            grant.expired(datetime.now(UTC))
    except (Failure, ValueError, TypeError, OSError):
        return None
    return grant


def keep(paths: Paths, changes: Changes, kind: Kind, grant: Grant) -> None:
    """Put it in place of another of that name. The caller holds `changing`."""
    changes.write(place(paths, kind, grant.name), encode(grant) + b"\n", 0o600)


def revoke(paths: Paths, changes: Changes, kind: Kind, name: str) -> bool:
    """False where there was none of that name."""
    path = place(paths, kind, name)
    if not path.parent.is_dir():
        return False
    with locked(path.parent):
        return changes.remove(path)


def prepare(paths: Paths, changes: Changes, kind: Kind) -> Path:
    """The folder of that kind, made if need be, to be locked by whoever changes it."""
    where = folder(paths, kind)
    changes.folder(paths.state, 0o755)
    changes.folder(where, 0o700)
    with locked(where):
        sweep(where)
    return where


def granted(paths: Paths, kind: Kind) -> list[Grant]:
    found = [read(folder(paths, kind) / name) for name in names(folder(paths, kind))]
    return [grant for grant in found if grant is not None]


def now() -> str:
    return rfc3339(datetime.now(UTC))


def until(seconds: float) -> str:
    """So long from now, as a grant says it; 0: for ever."""
    return rfc3339(datetime.now(UTC) + timedelta(seconds=seconds)) if seconds else ""


def rfc3339(when: datetime) -> str:
    return when.isoformat(timespec="seconds")


def check_only(patterns: tuple[str, ...]) -> None:
    """Raises Invalid for what can match no id."""
    allowed = set("*?[]!_.-") | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    for pattern in patterns:
        if not pattern or len(pattern) > 200 or not set(pattern) <= allowed:
            raise Invalid(f"{pattern[:80]!r} is no pattern of ids", hint="such as web-* or db-?")
