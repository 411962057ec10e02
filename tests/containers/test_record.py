"""gear-record: whether a failure is still about what would be started now, and what a good run is worth."""

from __future__ import annotations

import os
import time
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


@pytest.mark.parametrize(
    ("ages", "wanted", "forgiven"),
    [
        ({"version": 700}, True, True),
        ({"version": 30}, True, False),
        ({"version": 700}, False, False),
        ({}, True, False),
        ({"version": 7000, "begun": 30}, True, False),
        ({"version": 7000, "begun": 700}, True, True),
    ],
)
def test_earlier_restarts_are_forgiven_after_a_run_that_lasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ages: dict[str, int], wanted: bool, forgiven: bool
) -> None:
    """Not where it was told to stop or sleep: its next start is asked for, and has no pauses. Nor is that a run in
    which a container was only kept ready.
    """
    monkeypatch.setattr(record, "WANTS", str(tmp_path))
    for name, age in ages.items():
        (tmp_path / name).touch()
        began = time.time() - age
        os.utime(tmp_path / name, (began, began))
    if wanted:
        (tmp_path / "ctr-web.service").symlink_to("/nowhere")
    assert record._is_forgiven("ctr-web", str(tmp_path)) is forgiven  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("ready", "wanted", "stopped", "told"),
    [(True, False, True, False), (True, True, False, False), (False, True, False, True)],
)
def test_a_container_that_was_only_kept_ready(
    ready: bool, wanted: bool, stopped: bool, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is no end of a run; and systemd does not start it again, unless it is to run by now."""
    state, asked = tmp_path / "run/ctr-web", list[list[str]]()
    state.mkdir(parents=True)
    for name in ("BASE", "WANTS", "ENDS", "RUN", "GOING_DOWN", "REMAPPED"):
        monkeypatch.setattr(record, name, str(tmp_path / name.lower()))

    def run(argv: list[str]) -> int:
        asked.append(argv)
        return 0

    def note(*words: str) -> None:
        asked.append(["note"])

    monkeypatch.setattr(record, "_run", run)
    monkeypatch.setattr(record, "_note", note)
    monkeypatch.setenv("EXIT_CODE", "exited")
    monkeypatch.setenv("EXIT_STATUS", "1")
    if ready:
        (state / "ready").write_text("")
    if wanted:
        (tmp_path / "wants").mkdir()
        (tmp_path / "wants/ctr-web.service").symlink_to("/nowhere")
    assert record.main("ctr-web") == 0
    assert (["/usr/bin/systemctl", "--no-block", "stop", "ctr-web.service"] in asked) is stopped
    assert (["note"] in asked, (state / "ended").exists()) == (told, told)
    assert asked[-1][:1] == ["/usr/bin/podman"] and "rm" in asked[-1]
    assert not (state / "ready").exists()
