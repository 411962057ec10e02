"""Which gears there are, by what is on disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from geard.containers import listing
from geard.host.paths import Paths


def test_a_gear_that_goes_meanwhile_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder goes with the last that is in it, between the look at all of them and the one at this."""
    paths = Paths(tmp_path, tmp_path / "run", tmp_path / "systemd")
    for id in ("app", "db", "web"):
        folder = tmp_path / "units" / id[:2]
        folder.mkdir(parents=True)
        (folder / f"ctr-{id}.service").write_text("")
    scandir, gone = os.scandir, list[str]()

    def scan(path: Path | str) -> Any:
        if isinstance(path, str) and not gone:
            gone.append(Path(path).name)
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    found = listing.installed(paths)
    monkeypatch.undo()
    assert len(gone) == 1
    assert found == [id for id in ("app", "db", "web") if id[:2] not in gone]
