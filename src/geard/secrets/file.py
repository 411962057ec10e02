"""A secret's file, and how a start lays secrets out for a gear.

A file is one line of JSON (when it was made and changed, and which version of the value this is), then the value
as it came. The start hook imports this module with nothing but the standard library at hand, and only for gears
that have secrets.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from geard.environments.file import check_variables
from geard.failures import Failure, Invalid, NotFound, Unavailable

MARK = b"# geard: "


@dataclass(frozen=True, repr=False)
class Secret:
    created: str
    changed: str
    """RFC 3339"""
    version: str
    """the id of the request that brought this value"""
    value: bytes


def render(secret: Secret) -> bytes:
    facts = {"Created": secret.created, "Changed": secret.changed, "Version": secret.version}
    return MARK + json.dumps(facts).encode() + b"\n" + secret.value


def parse(data: bytes, name: str) -> Secret:
    """Raises Unavailable where it is no secret's file."""
    head, newline, value = data.partition(b"\n")
    try:
        facts: Any = json.loads(head.removeprefix(MARK)) if newline and head.startswith(MARK) else None
        return Secret(facts["Created"], facts["Changed"], facts["Version"], value)
    except (ValueError, KeyError, TypeError):
        raise Unavailable(
            f"the file of secret {name} is damaged", hint=f"gear secret create {name} --replace"
        ) from None


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


def lay_out(run: str, secrets: str, folder: str) -> dict[str, str]:
    """Have all secrets of the gear with the definition `run` ready in `folder`, which is not there yet; those that
    are variables are returned. Raises Failure where one is missing, or cannot be what it is asked to be.
    """
    with open(run, "rb") as file:
        facts: dict[str, Any] = json.loads(file.readline().removeprefix(MARK))
    os.mkdir(folder, 0o700)
    versions: dict[str, str] = {}
    variables: dict[str, str] = {}
    for number, use in enumerate(facts["Secrets"]):
        name: str = use["Name"]
        secret = load(secrets, name)
        versions[name] = secret.version
        if use["Variable"]:
            variables[use["Variable"]] = as_variable(name, secret.value)
        else:
            owner = facts["Uid"] or 0
            ids = (owner + use["Uid"], owner + use["Gid"])
            _write(f"{folder}/{file_of(number, name)}", secret.value, ids, int(use["Mode"] or "444", 8))
    check_variables(variables)
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
