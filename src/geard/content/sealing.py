"""The form of a sealed request: base64url of a version, the key's id, a nonce, and AES-256-GCM of JSON."""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from geard.content import keys
from geard.failures import Failure, Unauthenticated
from geard.host.paths import Paths
from geard.request import Scope
from geard.words import Word, decode, encode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LIMIT = 6_000
"""characters; servers and proxies take lines of 8 KiB"""
_VERSION = b"\x01"
_NONCE_BYTES = 12
_HEADER_BYTES = len(_VERSION) + keys.ID_BYTES


class Maker(Word):
    name: str
    scopes: tuple[Scope, ...]
    uid: int | None = None
    credential: str = ""
    """`token NAME` or `certificate NAME`, of whom the kernel does not know"""
    at: float = 0
    """when it was made"""


class Sealed(Word, omit_defaults=True):
    method: str
    path: str
    expires: float
    """seconds since 1970"""
    maker: Maker
    query: str = ""
    body: str = ""
    request_id: str = ""
    """of a change: the id it is done by, once"""


def seal(paths: Paths, request: Sealed) -> str:
    id, key = keys.newest(paths)
    header, nonce = _VERSION + id, os.urandom(_NONCE_BYTES)
    return _encode(header + nonce + _cipher(key).encrypt(nonce, encode(request), header))


def unseal(paths: Paths, text: str) -> Sealed:
    """Raises Unauthenticated, in one way for every way in which it can be wrong."""
    with suppress(ValueError, Failure):
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        header, nonce, rest = (
            raw[:_HEADER_BYTES],
            raw[_HEADER_BYTES:][:_NONCE_BYTES],
            raw[_HEADER_BYTES:][_NONCE_BYTES:],
        )
        # one spelling for each link: else a link that was used up could be spelt anew
        known = (
            len(text) <= LIMIT and _encode(raw) == text and header[:1] == _VERSION and len(nonce) == _NONCE_BYTES
        )
        if known and (key := keys.find(paths, header[1:])) is not None:
            return decode(Sealed, _opened(key, nonce, rest, header))
    raise Unauthenticated(
        "this link is none of this machine's, or was revoked", hint="gear content-token makes one"
    )


def _opened(key: bytes, nonce: bytes, rest: bytes, header: bytes) -> bytes:
    """Raises ValueError."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as below

    try:
        return _cipher(key).decrypt(nonce, rest, header)
    except InvalidTag:
        raise ValueError("it was not sealed with this key") from None


def _cipher(key: bytes) -> AESGCM:
    # 10 ms and some MB, which only an agent pays that has to do with links
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return AESGCM(key)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
