"""The words of secrets."""

from __future__ import annotations

from typing import ClassVar

from geard.request import Answer, Request, Route
from geard.words import Part, Word


class SecretUse(Word):
    """How one gear is given a secret: as a file, /run/secrets/NAME if nothing else is said, or as a variable."""

    name: str
    path: str = ""
    """inside the gear"""
    variable: str = ""
    mode: str = ""
    """of the file, in octal digits; 0444 if empty"""
    uid: int = 0
    gid: int = 0
    """the file's owner, as the gear sees it"""

    @property
    def target(self) -> str:
        """Where the file is inside the gear; empty for a variable."""
        return "" if self.variable else self.path or f"/run/secrets/{self.name}"


class SecretsPart(Part):
    key: ClassVar[str] = "Secrets"
    value: tuple[SecretUse, ...]

    def names(self) -> tuple[str, ...]:
        return tuple(use.name for use in self.value)


class StoredSecret(Answer):
    id: str
    changed: bool
    """False where it had just this value before"""
    used_by: tuple[str, ...] = ()
    """the gears that take the new value in when they start next"""

    def text(self) -> str:
        if not self.changed:
            return f"Secret {self.id} has this value already"
        if not self.used_by:
            return f"Secret {self.id} is stored"
        return f"Secret {self.id} is stored; to bring it in: gear restart {' '.join(self.used_by)}"


class CreateSecret(Request[StoredSecret]):
    """Keep a value under a name. Another value than the one that is kept takes `replace`."""

    route = Route("PUT", "/secret/{id}", scope="admin")
    example = {"Id": "db", "Value": "b3BlbiBzZXNhbWU="}

    id: str
    value: bytes
    """base64 in JSON"""
    replace: bool = False

    def __repr__(self) -> str:
        return f"CreateSecret(id={self.id!r}, value=…, replace={self.replace})"


class ListedSecret(Word):
    id: str
    created: str
    changed: str
    """RFC 3339, both"""
    used_by: tuple[str, ...] = ()


class SecretList(Answer):
    secrets: tuple[ListedSecret, ...]


class ListSecrets(Request[SecretList]):
    """The secrets of a machine, by name. No request reads a value."""

    route = Route("GET", "/secrets", scope="admin", text=False, reach="shown")


class RemovedSecret(Answer):
    id: str
    removed: bool
    """False where it was not there"""

    def text(self) -> str:
        return f"Removed secret {self.id}" if self.removed else f"Secret {self.id} was not there"


class RemoveSecret(Request[RemovedSecret]):
    """Forget a secret; unknown is fine. One that gears are given takes `force`: they cannot start any more."""

    route = Route("DELETE", "/secret/{id}", scope="admin")
    example = {"Id": "db", "Force": True}

    id: str
    force: bool = False
