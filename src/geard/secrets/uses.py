"""How a gear may be given secrets: `NAME`, `NAME:/path`, `NAME:env=VARIABLE`, `NAME:mode=0400,uid=1001`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from geard.environments.file import NEVER, check_name
from geard.failures import Invalid
from geard.identifiers import check_absolute, check_id
from geard.secrets.requests import SecretUse

USES_LIMIT = 100
VALUE_LIMIT = 64 * 1_024  # in base64, with room to spare, the body of one request
LAST_ID = 65_535  # of the users that a gear has

_MODE = re.compile(r"0?[0-7]{3}")


def check_secret(name: str) -> str:
    """Raises Invalid."""
    return check_id(name, "secret")


def check_value(value: bytes) -> None:
    """Raises Invalid."""
    if not value:
        raise Invalid("a secret without a value", hint="standard input, or --from FILE, was empty")
    if len(value) > VALUE_LIMIT:
        raise Invalid(f"a secret of more than {VALUE_LIMIT} bytes", hint="mount a file of the host's instead")


def check_uses(uses: Sequence[SecretUse]) -> None:
    """Raises Invalid for what could not be given, or takes the place of another."""
    if len(uses) > USES_LIMIT:
        raise Invalid(f"{len(uses)} secrets for one gear", hint=f"{USES_LIMIT} at most")
    taken: set[str] = set()
    for use in uses:
        check_secret(use.name)
        _check_use(use)
        place = use.target or f"${use.variable}"
        if place in taken:
            raise Invalid(f"two secrets for {place}")
        taken.add(place)
    for place in taken:
        if any(other.startswith(f"{place}/") for other in taken):
            raise Invalid(f"a secret for {place}, and another for what is below it")


def _check_use(use: SecretUse) -> None:
    if use.variable:
        check_name(use.variable)
        if use.path or use.mode or use.uid or use.gid:
            raise Invalid(
                f"secret {use.name} is to be a variable and a file",
                hint="one of both; name it twice to have both. Only a file has a mode and an owner",
            )
        return
    if NEVER.search(use.target):
        raise Invalid(f"the path {use.target!r} cannot be carried", hint="text in UTF-8, without NUL")
    if check_absolute(use.target, "inside the gear") == "/":
        raise Invalid("a secret cannot take the place of '/'")
    if use.mode and not _MODE.fullmatch(use.mode):
        raise Invalid(f"{use.mode!r} is no mode of a file", hint="octal digits, such as 0400 or 0444")
    for id in (use.uid, use.gid):
        if not 0 <= id <= LAST_ID:
            raise Invalid(f"a gear has no user or group {id}", hint=f"0 to {LAST_ID}")


def parse_use(text: str) -> SecretUse:
    """One `--secret`. Raises Invalid."""
    name, _, rest = text.partition(":")
    found: dict[str, str] = {}
    for word in rest.split(",") if rest else ():
        key, equals, value = ("path", "=", word) if word.startswith("/") else word.partition("=")
        if not equals or not value or key in found or key not in ("path", "env", "mode", "uid", "gid"):
            raise Invalid(
                f"{word!r} in --secret {name} says nothing about a secret",
                hint="NAME[:/PATH][,mode=0400][,uid=N][,gid=N], or NAME:env=VARIABLE",
            )
        found[key] = value
    use = SecretUse(
        name=name,
        path=found.get("path", ""),
        variable=found.get("env", ""),
        mode=found.get("mode", ""),
        uid=_number(found.get("uid", "0")),
        gid=_number(found.get("gid", "0")),
    )
    check_uses([use])
    return use


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise Invalid(f"{text!r} is no number of a user or group", hint="a number, as the gear counts them")
    return int(text)


def describe(use: SecretUse) -> str:
    """For `gear status`."""
    if use.variable:
        return f"{use.name} -> ${use.variable}"
    owner = f" of {use.uid}:{use.gid}" if use.uid or use.gid else ""
    return f"{use.name} -> {use.target}{f' ({use.mode}{owner})' if use.mode else owner}"


def in_words(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
