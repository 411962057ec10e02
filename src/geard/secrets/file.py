"""A secret's file, and how a start lays secrets out for a gear.

A file is one line (when it was made, when changed, which version of the value this is), then the value as it came.
The start hook imports this module with nothing but the standard library at hand, and waits for it: it stays small.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from geard.failures import Failure, Invalid, NotFound, Unavailable

MARK = b"# geard:"


class Secret:
    """A value and its version, the id of the request that brought it; `created` and `changed` are RFC 3339."""

    def __init__(self, created: str, changed: str, version: str, value: bytes) -> None:
        self.created, self.changed, self.version, self.value = created, changed, version, value


def render(secret: Secret) -> bytes:
    return b"%s %s\n%s" % (MARK, f"{secret.created} {secret.changed} {secret.version}".encode(), secret.value)


def parse(data: bytes, name: str) -> Secret:
    """Raises Unavailable where it is no secret's file."""
    head, newline, value = data.partition(b"\n")
    words = head.removeprefix(MARK).decode("ascii", errors="replace").split()
    if not head.startswith(MARK) or not newline or len(words) != 3:
        raise Unavailable(f"the file of secret {name} is damaged", hint=f"gear secret create {name} --replace")
    return Secret(words[0], words[1], words[2], value)


def load(folder: str, name: str) -> Secret:
    """Raises NotFound, Unavailable."""
    try:
        with open(f"{folder}/{name}", "rb") as file:
            return parse(file.read(), name)
    except FileNotFoundError:
        raise NotFound(f"there is no secret {name} here", hint=f"gear secret create {name}") from None


def as_variable(name: str, value: bytes) -> str:
    """The value of secret `name` as that of a variable. Raises Invalid where it cannot be one."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Invalid(
            f"secret {name} cannot be a variable: it is not text in UTF-8 without NUL",
            hint="give it as a file, or store it in base64",
        )
    return text


def file_of(number: int, name: str) -> str:
    """What the file of a gear's so-manieth secret is called while it runs."""
    return f"{number}-{name}"


def lay_out(
    orders: str, first_id: int, secrets: str, folder: str, shared: Mapping[int, tuple[int, int]] | None = None
) -> dict[str, str]:
    """Have the secrets of a gear ready in `folder`, which is not there yet; those that are variables are returned.

    `orders` are NAME:MODE:UID:GID for a file and NAME=VARIABLE; `first_id` is the host's id of the gear's root;
    `shared` has the ids of the gear that are another user and group outside.
    Raises Failure where a secret is missing, or cannot be what it is asked to be.
    """
    os.mkdir(folder, 0o700)
    versions: dict[str, str] = {}
    variables: dict[str, str] = {}
    for number, order in enumerate(orders.split()):
        file, is_variable, variable = order.partition("=")
        name, *access = file.split(":")
        secret = load(secrets, name)
        versions[name] = secret.version
        if is_variable:
            variables[variable] = as_variable(name, secret.value)
        else:
            mode, uid, gid = (int(access[0], 8), int(access[1]), int(access[2]))
            other = shared or {}
            owner = (other.get(uid, (first_id + uid, 0))[0], other.get(gid, (0, first_id + gid))[1])
            _write(f"{folder}/{file_of(number, name)}", secret.value, owner, mode)
    text = "".join(f"{name} {version}\n" for name, version in versions.items())
    _write(f"{folder}/versions", text.encode(), (0, 0), 0o600)
    return variables


def reason(failure: Failure) -> str:
    return f"{failure.message} ({failure.hint})" if failure.hint else failure.message


def _write(path: str, data: bytes, owner: tuple[int, int], mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
