"""gear-record: whether a failure is still about what would be started now."""

from __future__ import annotations

from pathlib import Path

import pytest

from geard.containers.unit_hooks import record


@pytest.mark.parametrize(
    ("failed", "installed", "still"),
    [("A1", "A1", True), ("A1", "B2", False), ("A1", None, True), (None, "B2", True)],
)
def test_only_what_is_in_force_still_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed: str | None, installed: str | None, still: bool
) -> None:
    monkeypatch.setattr(record, "BASE", str(tmp_path))
    noted, run = tmp_path / "version", tmp_path / "units/we/ctr-web.run"
    run.parent.mkdir(parents=True)
    if failed is not None:
        noted.write_text(failed)
    if installed is not None:
        run.write_text(f'# geard: {{}}\nGEAR_VERSION="{installed}"\nGEAR_ENGINE="podman"\n')
    assert record._is_in_force(str(noted), "ctr-web") is still  # pyright: ignore[reportPrivateUsage]
