"""The words of keys."""

from __future__ import annotations

from typing import Literal

import msgspec

from geard.request import Answer, Request, Route
from geard.words import Word


class KeyText(Word):
    value: str
    """one line: TYPE BASE64 [COMMENT]"""
    type: str = "authorized_keys"
    """the form of it; there is no other"""


class KeyedContainer(Word):
    id: str


class KeyedRepository(Word):
    id: str
    write: bool = False


class Permission(Word):
    """The original's way of saying what the keys open; a container by its id, a repository by id and write."""

    type: str = "container"
    with_: str | KeyedRepository | None = msgspec.field(name="With", default=None)


class AddedKeys(Answer):
    example = {"Ids": ["web-1"], "Keys": ["SHA256:Zkh2AzzyVqbkXKnpCXhIBtLnN9fHyDqN8hPc0OXNzn0"]}

    ids: tuple[str, ...]
    keys: tuple[str, ...]
    """the fingerprints of those given"""
    repositories: tuple[str, ...] = ()

    def text(self) -> str:
        count = len(self.keys)
        opened = ", ".join((*self.ids, *(f"the repository {id}" for id in self.repositories)))
        return f"{count} key{'s open' if count != 1 else ' opens'} {opened}"


class AddKeys(Request[AddedKeys]):
    """Let public keys open gears and repositories by SSH: all of them, or where one cannot be, none. Repeating it
    is harmless. A key that may write to a repository may also read it; the word given last counts.
    """

    route = Route("PUT", "/keys", scope="admin", also=("POST",))
    example = {
        "Keys": [
            {
                "Type": "authorized_keys",
                "Value": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFzgQ5b4l7C7b0n1nS2mZsvS6Gdu0bB9u9tHh0vS8mMa me",
            }
        ],
        "Containers": [{"Id": "web-1"}],
    }

    keys: tuple[KeyText, ...]
    containers: tuple[KeyedContainer, ...] = ()
    repositories: tuple[KeyedRepository, ...] = ()
    permissions: tuple[Permission, ...] = ()

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.gears(), *(each.id for each in self.keyed_repositories()))))

    def gears(self) -> tuple[str, ...]:
        permitted = [each.with_ for each in self.permissions if isinstance(each.with_, str)]
        return tuple(dict.fromkeys((*(each.id for each in self.containers), *permitted)))

    def keyed_repositories(self) -> tuple[KeyedRepository, ...]:
        permitted = [each.with_ for each in self.permissions if isinstance(each.with_, KeyedRepository)]
        return tuple(dict.fromkeys((*self.repositories, *permitted)))


class ListedKey(Word):
    id: str
    """the gear it opens"""
    type: str
    fingerprint: str
    value: str
    """as authorized_keys has it, without comment"""
    repository: Literal["", "read", "write"] = ""
    """of a repository: what the key may do there"""


class KeyList(Answer):
    keys: tuple[ListedKey, ...]

    def text(self) -> str:
        return "\n".join(
            f"{key.id} {key.fingerprint} {key.type}" + (f" {key.repository}" if key.repository else "")
            for key in self.keys
        )


class ListKeys(Request[KeyList]):
    """Which keys open which gears and repositories, or one of them."""

    route = Route("GET", "/keys", scope="read", reach="shown")

    id: str = ""
    """a gear"""
    repository: str = ""


class RemovedKeys(Answer):
    id: str
    keys: tuple[str, ...]
    """the fingerprints of those that opened it and do not any more"""

    def text(self) -> str:
        if not self.keys:
            return f"No such key opened {self.id}"
        return "\n".join(f"{key} does not open {self.id} any more" for key in self.keys)


class RemoveKeys(Request[RemovedKeys]):
    """Have a key not open a gear any more: from the next login on. Unknown is fine."""

    route = Route("DELETE", "/container/{id}/keys", scope="admin")
    example = {"Id": "web-1", "Key": "SHA256:Zkh2AzzyVqbkXKnpCXhIBtLnN9fHyDqN8hPc0OXNzn0"}

    id: str
    key: str = ""
    """its fingerprint, or the beginning of it"""
    all: bool = False


class RemoveRepositoryKeys(Request[RemovedKeys]):
    """Have a key not open a repository any more: from the next login on. Unknown is fine."""

    route = Route("DELETE", "/repository/{id}/keys", scope="admin")
    example = {"Id": "shop", "Key": "SHA256:Zkh2AzzyVqbkXKnpCXhIBtLnN9fHyDqN8hPc0OXNzn0"}

    id: str
    key: str = ""
    """its fingerprint, or the beginning of it"""
    all: bool = False
