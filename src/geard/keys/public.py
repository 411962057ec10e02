"""What a public key is: a line of authorized_keys without options (sshd(8), RFC 4253, PROTOCOL.certkeys). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from geard.failures import Invalid

LINE_LIMIT = 16_384
KEYS_LIMIT = 1_000
LEAST_RSA = 1024  # sshd's own least, RequiredRSASize
_CERT = "-cert-v01@openssh.com"
_SK = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
_CURVES = {"nistp256": 32, "nistp384": 48, "nistp521": 66}
PLAIN = ("ssh-rsa", "ssh-ed25519", *(f"ecdsa-sha2-{curve}" for curve in _CURVES), *_SK)
TYPES = (*PLAIN, *(kind.removesuffix("@openssh.com") + _CERT for kind in PLAIN))
_TYPE = re.compile(r"[A-Za-z0-9@.-]+")
_USER_CERTIFICATE = 1


@dataclass(frozen=True)
class PublicKey:
    type: str
    value: str
    """base64"""

    @property
    def text(self) -> str:
        """As it is kept: no comment, no options, no newline."""
        return f"{self.type} {self.value}"

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(base64.b64decode(self.value)).digest()

    @property
    def id(self) -> str:
        """The name of its file."""
        return base64.urlsafe_b64encode(self.digest).rstrip(b"=").decode()

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` says it; of a certificate, of all of it."""
        return shown(self.id)


def shown(id: str) -> str:
    return "SHA256:" + id.replace("-", "+").replace("_", "/")


def id_start(fingerprint: str) -> str:
    """What the name of the file of a key begins with whose fingerprint, or the beginning of it, is given."""
    found = fingerprint.removeprefix("SHA256:").replace("+", "-").replace("/", "_").rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]{6,43}", found):
        raise Invalid(f"{fingerprint[:60]!r} is no fingerprint", hint="gear list-keys shows them: SHA256:…")
    return found


def parse_keys(text: str, what: str = "line") -> tuple[PublicKey, ...]:
    """All keys of a file in the form of authorized_keys, each once; blank lines and comments are passed over.

    Raises Invalid, which says of each line that is wrong what is wrong with it: then none of them is taken.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return parse_all([(f"{what} {number}", line) for number, line in lines if line and not line.startswith("#")])


def parse_all(lines: Iterable[tuple[str, str]]) -> tuple[PublicKey, ...]:
    """The key of each line; `lines` are its name and its text. Raises Invalid."""
    found: dict[PublicKey, None] = {}
    wrong: list[dict[str, object]] = []
    for index, (name, line) in enumerate(lines):
        try:
            found[parse_key(line)] = None
        except Invalid as failure:
            wrong.append({"index": index, "message": f"{name}: {failure.message}", "hint": failure.hint})
    if wrong:
        further = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise Invalid(f"no key was taken: {wrong[0]['message']}{further}", hint=str(wrong[0]["hint"]), data=wrong)
    if not found:
        raise Invalid("there is no public key", hint="a line for each, as ~/.ssh/id_ed25519.pub has it")
    if len(found) > KEYS_LIMIT:
        raise Invalid(f"{len(found)} keys at once", hint=f"{KEYS_LIMIT} at most")
    return tuple(found)


def parse_key(line: str) -> PublicKey:
    """`TYPE BASE64 [COMMENT]`. Raises Invalid."""
    if len(line) > LINE_LIMIT or "\n" in line or "\0" in line:
        raise Invalid("that is no public key", hint="one line: ssh-ed25519 AAAA…")
    if "PRIVATE KEY" in line:
        raise Invalid("that is a private key", hint="the public one is in the file that ends with .pub")
    kind, *rest = line.split()[:2] or [""]
    if kind in ("ssh-dss", "ssh-dss" + _CERT):
        raise Invalid("DSA keys are let in by no sshd of today", hint="ssh-keygen -t ed25519")
    if kind not in TYPES:
        if any(word in line.split() for word in TYPES) or "=" in kind or "," in kind:
            raise Invalid(
                "it has options before the key", hint="only TYPE, BASE64 and a comment; what it may is geard's"
            )
        known = _TYPE.fullmatch(kind) and len(kind) <= 60
        raise Invalid(
            f"there is no type of key {kind!r}" if known else "that is no public key",
            hint=f"one of {', '.join(PLAIN)}",
        )
    if not rest:
        raise Invalid(f"{kind} has no key behind it")
    try:
        blob = base64.b64decode(rest[0], validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(f"what stands behind {kind} is not base64") from None
    try:
        _check(kind, _Blob(blob))
    except _Broken as broken:
        raise Invalid(f"it is no whole {kind} key: {broken}", hint="part of the line may be missing") from None
    return PublicKey(kind, base64.b64encode(blob).decode())


class _Broken(Exception):
    pass


class _Blob:
    """A key's bytes, read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise _Broken("it ends too early")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self, bytes: int = 4) -> int:
        return int.from_bytes(self.take(bytes), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._data:
            raise _Broken("something follows it")


def _check(kind: str, blob: _Blob) -> None:
    if blob.string() != kind.encode():
        raise _Broken("the bytes say another type")
    plain = kind
    if kind.endswith(_CERT):
        plain = next(each for each in PLAIN if each.removesuffix("@openssh.com") == kind.removesuffix(_CERT))
        blob.string()  # a nonce
    _check_key(plain, blob)
    if plain != kind:
        _check_certificate(blob)
    blob.end()


def _check_key(kind: str, blob: _Blob) -> None:
    if kind == "ssh-rsa":
        exponent, modulus = (int.from_bytes(blob.string(), "big") for _ in range(2))
        if exponent < 3 or modulus.bit_length() < LEAST_RSA:
            raise _Broken(f"of {modulus.bit_length()} bits, and sshd wants {LEAST_RSA} at least")
    elif kind == "ssh-ed25519" or kind == _SK[0]:
        if len(blob.string()) != 32:
            raise _Broken("it is not of 32 bytes")
    else:
        curve = kind.removeprefix("sk-").removeprefix("ecdsa-sha2-").removesuffix("@openssh.com")
        if blob.string() != curve.encode():
            raise _Broken("the bytes say another curve")
        point = blob.string()
        if len(point) != 1 + 2 * _CURVES[curve] or point[0] != 4:
            raise _Broken("that is no point of its curve")
    if kind in _SK:
        blob.string()  # the application: "ssh:"


def _check_certificate(blob: _Blob) -> None:
    blob.number(8)
    if blob.number() != _USER_CERTIFICATE:
        raise _Broken("it certifies a host, not a user")
    for _ in range(2):  # its name, principals
        blob.string()
    blob.take(16)  # from when to when
    for _ in range(5):  # critical options, extensions, reserved, the authority's key, its signature
        blob.string()
