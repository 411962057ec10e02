"""The signature of a callback, as https://www.standardwebhooks.com has it, so that its libraries can check it.

webhook-id: ID              the same for each try: who has seen it drops the double
webhook-timestamp: SECONDS  since 1970, of this try
webhook-signature: v1,…     base64 of HMAC-SHA256 over "ID.SECONDS.BODY"
"""

from __future__ import annotations

import base64
import hmac
import os
from pathlib import Path

from geard.host.paths import Paths
from geard.host.storage import Changes, locked, read_text

PREFIX = "whsec_"


def key(paths: Paths) -> str:
    """`whsec_` and base64 of 32 random bytes: this machine's, made on first need. Raises OSError."""
    path = _place(paths)
    if found := read_text(path):
        return found.strip()
    with Changes() as changes:
        changes.folder(path.parent, 0o700)
        with locked(path.parent):
            if found := read_text(path):
                return found.strip()
            made = PREFIX + base64.b64encode(os.urandom(32)).decode()
            changes.write(path, f"{made}\n", 0o600)
    return made


def delivery_id(key: str, request_id: str) -> str:
    """The same for the same request of the same machine; several machines may be asked by one request id."""
    found = hmac.digest(_secret(key), f"delivery of {request_id}".encode(), "sha256")
    return f"cb_{base64.urlsafe_b64encode(found[:18]).decode()}"


def headers(key: str, id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Of one try, `id` being the delivery's."""
    signature = hmac.digest(_secret(key), f"{id}.{seconds}.".encode() + body, "sha256")
    return {
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def _secret(key: str) -> bytes:
    return base64.b64decode(key.removeprefix(PREFIX))


def _place(paths: Paths) -> Path:
    return paths.base / "callbacks" / "key"
