"""Machines whose agents this user may ask by a certificate: a file each, /etc/geard/hosts/NAME for root,
~/.config/geard/hosts/NAME for others. `gear host add` writes it.

One file, so that it is whole or not there: a line of JSON, then PEM: our certificate, our key, and the certificate
of the authority over there, which alone is believed for that name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from geard.failures import Invalid, NotFound, Unavailable
from geard.identifiers import parse_place
from geard.words import Word

if TYPE_CHECKING:
    import ssl

ROOTS = Path("/etc/geard/hosts")
_MARK = "# geard: "
_BEGIN = "-----BEGIN CERTIFICATE-----"


class KnownHost(Word):
    """What the file says beside the keys."""

    address: str
    port: int
    as_name: str
    """by which name we are known there"""
    expires: str
    renew: str
    """from when on our certificate should be renewed; RFC 3339, both"""


@dataclass(frozen=True)
class TlsPlace:
    """An agent to be asked by TLS. `name` is what failures call it; `file` has our certificate, if we show one."""

    name: str
    address: str
    port: int
    authority: str
    """PEM"""
    file: Path | None = None
    bearer: str = ""

    def __str__(self) -> str:
        return self.name

    def context(self) -> ssl.SSLContext:
        """Raises Unavailable where the file is damaged."""
        import ssl  # noqa: PLC0415 - 10 ms that only who asks another machine pays

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cadata=self.authority)
            if self.file is not None:
                context.load_cert_chain(self.file)
        except (ssl.SSLError, OSError) as error:
            raise Unavailable(
                f"cannot use {self.file}: {error.strerror or error}", hint=f"gear host add {self.name}, anew"
            ) from None
        return context


def folder() -> Path:
    if os.geteuid() == 0:
        return ROOTS
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "geard" / "hosts"


def check_name(name: str) -> str:
    """Raises Invalid for what is no name of a host, or means this machine."""
    place = parse_place(name)
    if str(place) != name or ":" in name or name in ("", ".", "..") or name.startswith(".") or is_here(name):
        raise Invalid(f"{name!r} cannot name another machine", hint="a name such as h1, without a port")
    return name


def is_here(host: str) -> bool:
    """Whether that is loopback, where this machine's agent answers without TLS."""
    return host.lower() in ("localhost", "127.0.0.1", "[::1]", "::1", "local", "")


def place_of(name: str) -> Path:
    return folder() / check_name(name)


def find(name: str) -> KnownHost | None:
    """None where there is none of that name. Raises Unavailable where its file is damaged."""
    try:
        text = place_of(name).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, Invalid):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"cannot read {place_of(name)}: {error}") from None
    first = text.partition("\n")[0]
    try:
        known = msgspec.json.decode(first.removeprefix(_MARK), type=KnownHost)
        for when in (known.expires, known.renew):
            if datetime.fromisoformat(when).tzinfo is None:
                raise ValueError(when)
    except (msgspec.MsgspecError, ValueError):
        raise _damaged(name) from None
    return known


def tls_place(name: str, known: KnownHost) -> TlsPlace:
    """Raises Unavailable."""
    path = place_of(name)
    try:
        text = path.read_text(encoding="utf-8")
        return TlsPlace(name, known.address, known.port, text[text.rindex(_BEGIN) :], path)
    except (OSError, ValueError):
        raise _damaged(name) from None


def way(name: str) -> tuple[str, int, str, str, str]:
    """Address and port; our certificate, our key, the authority there. Raises NotFound, Unavailable."""
    known = find(name)
    if known is None:
        raise NotFound(f"the machine {name} is not known here", hint=f"gear host add {name} ADDRESS")
    try:
        text = place_of(name).read_text(encoding="utf-8")
    except OSError:
        raise _damaged(name) from None
    parts = re.findall(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", text, re.DOTALL)
    blocks = re.findall(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n?", text, re.DOTALL)
    if len(blocks) != 3 or not parts[1].endswith("PRIVATE KEY"):
        raise _damaged(name)
    return known.address, known.port, blocks[0], blocks[1], blocks[2]


def _damaged(name: str) -> Unavailable:
    return Unavailable(f"{place_of(name)} is damaged", hint=f"gear host add {name}, anew")


def names() -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder()) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def due(known: KnownHost) -> bool:
    """Whether it should be renewed now; one that has expired cannot be any more."""
    now = datetime.now(UTC)
    return datetime.fromisoformat(known.renew) <= now < datetime.fromisoformat(known.expires)


def expired(known: KnownHost) -> bool:
    return datetime.fromisoformat(known.expires) <= datetime.now(UTC)


def save(name: str, known: KnownHost, certificate: str, key: str, authority: str) -> None:
    """Put the whole file in place of an earlier one, for this user's eyes alone."""
    head = _MARK + msgspec.json.encode(known).decode()
    write(place_of(name), f"{head}\n{certificate.strip()}\n{key.strip()}\n{authority.strip()}\n")


def write(path: Path, text: str) -> None:
    """Raises Unavailable."""
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(fd)
            draft.rename(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from None


def forget(name: str) -> bool:
    """False where it was not known."""
    path = place_of(name)
    path.with_name(f".{name}.key").unlink(missing_ok=True)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
