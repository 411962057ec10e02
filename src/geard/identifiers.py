"""Names that cross a line: ids, locators, request ids. All come from hostile hands; all are checked here.

An id names a gear, an environment or a repository. It becomes part of file names, unit names and host names,
so what is not plainly harmless is refused.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass

from geard.failures import Invalid

DEFAULT_PORT = 43273

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,63}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]", re.ASCII)
_LOGIN_LIMIT = 31  # useradd(8): names of up to 32 characters, and some tools count the NUL
TYPES = ("ctr", "repo", "router")


def check_id(text: str, what: str = "gear") -> str:
    """`text`, if it may name a gear, an environment or a repository.

    Raises Invalid: an id has 2 to 64 of the characters A-Z a-z 0-9 _ . -, begins with a letter or a digit
    and has no two dots in a row (docs/API.md, Names).
    """
    if not _ID.fullmatch(text) or ".." in text:
        raise Invalid(
            f"{text[:80]!r} cannot name {_a(what)}" if text else f"{_a(what)} needs a name",
            hint="2 to 64 letters, digits, '_', '.' or '-', the first a letter or digit, no '..'",
        )
    return text


def check_absolute(path: str, where: str) -> str:
    """`path`, if it is one from the root and without detours; `where` says whose root. Raises Invalid."""
    parts = path.split("/")[1:]
    if not path.startswith("/") or "\n" in path or (path != "/" and not {"", ".", ".."}.isdisjoint(parts)):
        raise Invalid(f"{path!r} is no path {where}", hint="absolute, without '..', '//' and a '/' at the end")
    if len(path.encode()) > 4_095 or any(len(part.encode()) > 200 for part in parts):
        raise Invalid(f"the path {path[:60]!r}… is too long")
    return path


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def login_name(gear: str) -> str:
    """The Unix user of a gear: ctr-ID, or ctr-- and a digest where that would be too long for a login.

    No id begins with '-', so the second form belongs to no other gear.
    """
    return _login("ctr", gear)


def repository_login(repository: str) -> str:
    """The Unix user of a repository: git-ID, or git-- and a digest."""
    return _login("git", repository)


def _login(kind: str, id: str) -> str:
    plain = f"{kind}-{id}"
    if len(plain) <= _LOGIN_LIMIT:
        return plain
    import hashlib  # noqa: PLC0415 - 3 ms that most commands need not pay

    return f"{kind}--" + hashlib.sha256(id.encode()).hexdigest()[: _LOGIN_LIMIT - 5]


def bucket(name: str) -> str:
    """The folder an id is filed under: its first two characters (README, Disk Structure)."""
    return name[:2]


@dataclass(frozen=True)
class Place:
    """A machine: `host` is empty for this one without an agent."""

    host: str = ""
    port: int = DEFAULT_PORT

    @property
    def local(self) -> bool:
        return not self.host

    def __str__(self) -> str:
        if self.local:
            return ""
        return self.host if self.port == DEFAULT_PORT else f"{self.host}:{self.port}"


LOCAL = Place()


@dataclass(frozen=True)
class Locator:
    """A named thing on a machine: `[type://][host[:port]/]id`."""

    id: str
    at: Place = LOCAL
    type: str = "ctr"

    def __str__(self) -> str:
        return self.id if self.at.local else f"{self.at}/{self.id}"


def parse_place(text: str) -> Place:
    """`host` or `host:port`; the empty string and `local` are this machine, `localhost` is its agent.

    Raises Invalid.
    """
    if text in ("", "local"):
        return LOCAL
    host, port = text, ""
    if text.startswith("["):
        inside, end, port = text.partition("]")
        host = inside + end
        if port and not port.startswith(":"):
            host = text  # nothing that can follow an address in brackets
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not _HOST.fullmatch(host):
        raise Invalid(f"{text!r} is no host", hint="a host is NAME or NAME:PORT, an IPv6 address stands in [ ]")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else (0 if port else DEFAULT_PORT)
    if not 1 <= number <= 65535:
        raise Invalid(f"{port!r} in {text!r} is no port", hint="a port is a number from 1 to 65535")
    return Place(host, number)


def parse_locator(text: str, default_type: str = "ctr", what: str = "gear") -> Locator:
    """`[type://][host[:port]/]id`. Raises Invalid, which says `what` it should name."""
    kind, found, rest = text.partition("://")
    if not found:
        kind, rest = default_type, text
    if kind not in TYPES:
        raise Invalid(f"{kind!r} in {text!r} is no type of thing", hint=f"one of {', '.join(TYPES)}")
    host, slash, name = rest.partition("/")
    if not slash:
        return Locator(check_id(rest, what), LOCAL, kind)
    if not host:
        raise Invalid(f"{text!r} names no host before the '/'", hint="write HOST/NAME, or NAME for this machine")
    return Locator(check_id(name, what), parse_place(host), kind)


class RequestIds:
    """The ids of one client's requests: `first` (or a new one), then ids that follow from it, so that the same
    command given again with the same first id asks each of its questions by the same id.
    """

    def __init__(self, first: str = "") -> None:
        self._first = first
        self._given = 0

    def next(self) -> str:
        if not self._first:
            return new_request_id()
        self._given += 1
        if self._given == 1:
            return self._first
        import hashlib  # noqa: PLC0415 - as above

        return _encode(hashlib.sha256(f"{self._first} {self._given}".encode()).digest()[:16])


_HEX32 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9_-]{22}(==)?", re.ASCII)


def new_request_id() -> str:
    """16 random bytes in base64url without padding: 22 characters, as the original's client sends.

    Versions are files of that name, so ours never begin with a '-', which would be an option to most commands.
    """
    while (id := _encode(os.urandom(16))).startswith("-"):
        pass
    return id


def derived_request_id(text: str) -> str:
    """The same for the same text, as good as random for another: who does one thing again asks by the same id."""
    import hashlib  # noqa: PLC0415 - few need it, and it is not light

    for number in range(1_000):
        id = _encode(hashlib.sha256(f"{text} {number}".encode()).digest()[:16])
        if not id.startswith("-"):
            return id
    raise AssertionError("a thousand digests that begin alike")


def parse_request_id(text: str) -> str:
    """A request id in its one spelling here; 32 hexadecimal digits or 22 base64url characters go in.

    Two spellings of the same 16 bytes are the same id. The result is safe as a file name. Raises Invalid.
    """
    if _HEX32.fullmatch(text):
        return _encode(bytes.fromhex(text))
    if _BASE64.fullmatch(text):
        return _encode(base64.urlsafe_b64decode(text[:22] + "=="))
    raise Invalid(f"{text!r} is no request id", hint="32 hexadecimal digits, or 22 characters of base64url")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
