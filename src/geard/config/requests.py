"""The words of settings."""

from __future__ import annotations

import json
from typing import Any, cast

from geard.request import Answer, Request, Route
from geard.words import Word


class SettingInForce(Word):
    table: str
    name: str
    value: Any
    origin: str
    """FILE:LINE, or "default" """


class SettingsInForce(Answer):
    path: str
    settings: tuple[SettingInForce, ...]

    def text(self) -> str:
        """As the file would say it, each with its origin."""
        lines: list[str] = []
        table = ""
        width = max((len(f"{s.name} = {_toml(s.value)}") for s in self.settings), default=0)
        for setting in self.settings:
            if setting.table != table:
                table = setting.table
                lines += ["", f"[{table}]"] if lines else [f"[{table}]"]
            words = f"{setting.name} = {_toml(setting.value)}"
            lines.append(f"{words:<{min(width, 60)}}  # {setting.origin}")
        return "\n".join(lines)


class GetSettings(Request[SettingsInForce]):
    """Every setting of a machine as it is in force, and where it comes from: contents of a file, so it takes more
    than the scope *read*.
    """

    route = Route("GET", "/settings", reach="machine")


def _toml(value: object) -> str:
    """A value as TOML writes it; strings, numbers and truth are JSON's."""
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key)} = {_toml(item)}" for key, item in cast("dict[str, Any]", value).items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, cast("list[Any]", value))) + "]"
    return json.dumps(value, ensure_ascii=False)
