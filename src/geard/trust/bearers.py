"""Secrets that let their bearer in, as text: `geard-token.NAME.SECRET`, `geard-join.NAME.SECRET.FINGERPRINT`.

Made at the terminal that asks for them; the agent is told their digest alone, so nothing it keeps lets anybody in.
The name finds the record; a secret has 256 random bits, so its plain SHA-256 tells nothing of it.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass

from geard.failures import Invalid

_WORD = "[A-Za-z0-9_-]{43}"
_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{1,63}"
_TOKEN = re.compile(rf"geard-token\.({_NAME})\.({_WORD})", re.ASCII)
_JOIN = re.compile(rf"geard-join\.({_NAME})\.({_WORD})\.({_WORD})", re.ASCII)


@dataclass(frozen=True)
class Bearer:
    """A token, or with the `fingerprint` of the authority it leads to an invitation."""

    name: str
    secret: str
    fingerprint: str = ""

    @property
    def text(self) -> str:
        if self.fingerprint:
            return f"geard-join.{self.name}.{self.secret}.{self.fingerprint}"
        return f"geard-token.{self.name}.{self.secret}"

    def __repr__(self) -> str:
        return f"Bearer({self.name!r}, …)"


def parse_bearer(text: str) -> Bearer | None:
    """None where it is neither."""
    found = _TOKEN.fullmatch(text) or _JOIN.fullmatch(text)
    return Bearer(*found.groups()) if found else None


def new_secret() -> str:
    """256 random bits: 43 characters of base64url."""
    return base64url(os.urandom(32))


def digest(secret: str) -> str:
    """What is kept of a secret: the SHA-256 of its text, in hexadecimal digits."""
    import hashlib  # noqa: PLC0415 - 3 ms that most commands need not pay

    return hashlib.sha256(secret.encode()).hexdigest()


def fingerprint(der: bytes) -> str:
    """Of a certificate: the SHA-256 of its DER, 43 characters of base64url."""
    import hashlib  # noqa: PLC0415 - as above

    return base64url(hashlib.sha256(der).digest())


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def check_digest(text: str) -> str:
    """Raises Invalid."""
    if not _DIGEST.fullmatch(text):
        raise Invalid("a digest is the SHA-256 of a secret: 64 hexadecimal digits")
    return text
