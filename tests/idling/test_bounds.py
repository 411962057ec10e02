"""Who may wake gears, and how many, as the waker reads it from the machine's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from geard.failures import Invalid
from geard.idling.settings import IdlingSettings
from geard.idling.unit_hooks import waker


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(waker, "SETTINGS", str(tmp_path / "geard.toml"))
    return tmp_path / "geard.toml"


def write(path: Path, text: str) -> None:
    draft = path.with_name("draft")
    draft.write_text(text)
    draft.rename(path)


def test_they_are_read_when_they_have_changed(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bounds = waker.Bounds()
    bounds.read()
    assert bounds.wake_from == []
    write(settings, '[idling]\nwake-from = ["10.0.0.1/8", "192.0.2.7"]\n')
    bounds.read()
    assert bounds.wake_from == ["10.0.0.0/8", "192.0.2.7/32"]
    for wrong in ("[idling", "idling = 1", '[idling]\nwake-from = ["everywhere"]', "[idling]\nwakes-of-one = []"):
        write(settings, wrong)
        bounds.read()
        assert bounds.wake_from == ["10.0.0.0/8", "192.0.2.7/32"], "what held before, holds"
        assert "cannot be read" in capsys.readouterr().err
    settings.unlink()
    bounds.read()
    assert bounds.wake_from == []


def test_one_address_does_not_wake_them_all(
    settings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr("geard.idling.unit_hooks.waker.time.monotonic", lambda: now[0])
    write(settings, "[idling]\nwakes-of-one = 3\n")
    bounds = waker.Bounds()
    bounds.read()
    assert [bounds.take("192.0.2.7") for _ in range(6)] == [True] * 3 + [False] * 3
    assert capsys.readouterr().err.count("192.0.2.7 wakes no more: 3 gears within a minute") == 1
    assert bounds.take("192.0.2.8"), "another"
    assert [bounds.take(f"fd00::{number}") for number in range(1, 5)] == [True] * 3 + [False], "one network"
    assert all(bounds.take("127.0.0.1") for _ in range(9)), "the host's own"
    now[0] += 61
    assert bounds.take("192.0.2.7")
    write(settings, "[idling]\nwakes-of-one = 0\n")
    bounds.read()
    assert all(bounds.take("192.0.2.7") for _ in range(99))


def test_no_more_addresses_are_kept_than_there_is_room_for(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("geard.idling.unit_hooks.waker.time.monotonic", lambda: now[0])
    monkeypatch.setattr(waker, "SOURCES", 10)
    bounds = waker.Bounds()
    for number in range(50):
        now[0] += 10
        bounds.take(f"192.0.2.{number}")
    assert len(bounds._woken) <= 10  # pyright: ignore[reportPrivateUsage]


def test_settings_that_cannot_be() -> None:
    for wrong, said in (
        (IdlingSettings(wake_from=("here",)), "wake-from: "),
        (IdlingSettings(wakes_of_one=-1), "less"),
    ):
        with pytest.raises(Invalid, match=said):
            wrong.check()
