"""/etc/geard/geard.toml, as it is just now: read again whenever the file has changed, so no restart is needed.

Only the table that is asked for is checked, and only when it is asked for: a mistake in one table must not keep
gears of other concerns from being started at night.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

import msgspec

from geard.failures import Invalid
from geard.settings import Section, sections
from geard.words import read

S = TypeVar("S", bound=Section)
EngineName = Literal["podman", "docker"]


class EngineSettings(Section):
    key: ClassVar[str] = "engine"
    default: EngineName = "podman"
    """the engine of gears that are installed without --engine"""


@dataclass(frozen=True)
class Setting:
    """One value in force, and where it comes from."""

    table: str
    name: str
    value: object
    origin: str
    """FILE:LINE, or "default" """


class Settings:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._signature: tuple[int, int, int] | None = None
        self._text = ""
        self._tables: dict[str, Any] = {}
        self._known: dict[type[Section], Section] = {}

    def section(self, kind: type[S]) -> S:
        """The table of that kind as it is in force. Raises Invalid with the file and what is wrong in it."""
        self._refresh()
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = self._read(kind)
        return cast(S, found)

    def all(self) -> list[Setting]:
        """Every setting with its origin. Raises Invalid where anything in the file is wrong."""
        self._refresh()
        known = sections()
        unknown = [table for table in self._tables if table not in known]
        if unknown:
            raise self._wrong(f"there is no table [{unknown[0]}]", f"known: {', '.join(sorted(known))}")
        return [
            Setting(key, field.encode_name, getattr(self.section(kind), field.name), self.origin(kind, field.name))
            for key, kind in sorted(known.items())
            for field in msgspec.structs.fields(kind)
        ]

    def origin(self, kind: type[Section], name: str) -> str:
        """Where the value of a field comes from: FILE:LINE, or "default"."""
        self._refresh()
        key = name.replace("_", "-")
        table = self._tables.get(kind.key)
        if not isinstance(table, dict) or key not in cast("dict[str, Any]", table):
            return "default"
        inside = False
        for number, line in enumerate(self._text.splitlines(), 1):
            header = re.match(r"\s*\[+\s*\"?([\w-]+)", line)
            if re.match(rf"\s*\[\s*{re.escape(kind.key)}\s*\.\s*\"?{re.escape(key)}\b", line):
                return f"{self.path}:{number}"
            if header:
                inside = header[1] == kind.key
            elif inside and re.match(rf"\s*\"?{re.escape(key)}\b", line):
                return f"{self.path}:{number}"
        return str(self.path)

    def _refresh(self) -> None:
        signature = _signature(self.path)
        if signature == self._signature:
            return
        self._known = {}
        self._tables, self._text = {}, ""
        if signature is not None:
            try:
                self._text = self.path.read_text(encoding="utf-8")
                self._tables = tomllib.loads(self._text)
            except FileNotFoundError:
                signature = None
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                self._signature = None
                raise self._wrong(f"it is no TOML: {error}") from None
        self._signature = signature

    def _read(self, kind: type[Section]) -> Section:
        table = self._tables.get(kind.key, {})
        try:
            found = read(kind, table)
            found.check()
        except Invalid as error:
            text = re.sub(r"there is no \$\.(\S+)", r"there is no key \1", error.message)
            place = re.search(r" - at `\$\.([^`]+)`", text)
            text = text.removesuffix(place[0]) if place else text
            raise self._wrong(f"[{kind.key}] {place[1] + ': ' if place else ''}{text}", error.hint) from None
        return found

    def _wrong(self, text: str, hint: str = "") -> Invalid:
        return Invalid(f"{self.path}: {text}", hint=hint or "gear config check says when it is right")


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Changes with the file; None where there is none."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
