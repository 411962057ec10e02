"""What the two words of `gear cp` mean, and what a copy is called where it goes. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from geard.failures import Conflict, Invalid, NotFound
from geard.identifiers import Locator, parse_locator

_IN_A_GEAR = re.compile(r"((?:(?:\[[^\]/]*\]|[^/:\[\]]+)(?::\d+)?/)?[^/:]+):(.*)", re.DOTALL)


@dataclass(frozen=True)
class Side:
    """Where something is: in a gear, on this machine, or, without a path, on standard input or output."""

    path: str
    gear: Locator | None = None

    @property
    def streams(self) -> bool:
        return not self.path

    def __str__(self) -> str:
        return f"{self.gear}:{self.path}" if self.gear is not None else self.path or "-"


def parse_side(text: str) -> Side:
    """`NAME:PATH` and `HOST/NAME:PATH` are in a gear, `-` is a tar; all else is here, and so is what begins with
    `/` or `.`. Raises Invalid.
    """
    if text == "-":
        return Side("")
    found = None if text.startswith(("/", ".")) else _IN_A_GEAR.fullmatch(text)
    if found is None:
        if not text or "\0" in text:
            raise Invalid(f"{text!r} is no path", hint="NAME:PATH, a path of this machine, or -")
        return Side(text)
    if not found[2]:
        raise Invalid(f"{text} says nothing of where in {found[1]}", hint=f"{found[1]}:/PATH")
    path = found[2] if found[2].startswith("/") else f"/{found[2]}"
    return Side(path, parse_locator(found[1]))


@dataclass(frozen=True)
class Goal:
    """Into which folder, and under which name there; `.`: the contents of a folder alone."""

    folder: str
    name: str


def plan_goal(source: Side, target: Side, kind: str | None) -> Goal:
    """As cp(1) has it. `kind` is what is at the target now, a folder, a file or other; None where nothing is.

    Raises NotFound, Conflict.
    """
    contents = source.path.rstrip("/").endswith("/.") or source.path in (".", "./")
    if kind == "folder":
        return Goal(target.path, "." if contents else base_name(source.path))
    if target.path.endswith(("/", "/.")):
        raise NotFound(f"there is no folder {target}")
    if kind is not None and contents:
        raise Conflict(f"{target} is there, and no folder")
    folder, name = posixpath.split(target.path)
    return Goal(folder or ".", name)


def base_name(path: str) -> str:
    """The last part that is a name; `.` for none."""
    return posixpath.basename(posixpath.normpath(path)) or "."
