"""Has a wheel carry the contents of `gear --help`, which geard/cli/contents.py reads; hatchling calls this."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Contents(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            written = Path(self.directory) / "contents.json"
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_bytes(contents(Path(self.root) / "src"))
            build_data["force_include"][str(written)] = "geard/cli/contents.json"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        (Path(self.directory) / "contents.json").unlink(missing_ok=True)


def contents(source: Path) -> bytes:
    sys.path.insert(0, str(source))
    importlib.import_module("geard.__main__")  # it has verbs too
    said: bytes = importlib.import_module("msgspec").json.encode(
        importlib.import_module("geard.cli.main").said_by_the_rooms()
    )
    return said
