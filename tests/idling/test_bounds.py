"""Who may wake gears, and how many, as the waker reads it from the machine's settings."""

from __future__ import annotations

import struct
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


def test_interfaces_are_read_too(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bounds = waker.Bounds()
    write(settings, '[idling]\nwake-interfaces = ["eth0", "wg*"]\n')
    bounds.read()
    assert bounds.wake_interfaces == ["eth0", "wg*"]
    for wrong in ('"eth0"', "1", "false"):
        write(settings, f'[idling]\nwake-interfaces = {wrong}\nwake-from = ["192.0.2.7"]\n')
        bounds.read()
        assert (bounds.wake_interfaces, bounds.wake_from) == (["eth0", "wg*"], []), "what held before, holds"
        assert "cannot be read" in capsys.readouterr().err


def test_who_may_wake_a_gear(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {2: "eth0", 3: "wg0", 4: "wg", 5: "br-1"}

    def called(index: int) -> str:
        if index not in names:
            raise OSError(6, "no such device")
        return names[index]

    monkeypatch.setattr("geard.idling.unit_hooks.waker.socket.if_indextoname", called)
    may = waker.Bounds().may_wake
    here, there = "192.0.2.7", "203.0.113.9"
    for said, source, interface, answer in (
        ([], there, 2, True),
        (["192.0.2.0/24"], here, 2, True),
        (["192.0.2.0/24"], there, 2, False),
        (["192.0.2.0/24"], there, 0, False),  # the host's own, from another of its addresses
        (["eth0"], there, 2, True),
        (["eth0"], there, 3, False),
        (["eth0"], there, 9, False),  # gone meanwhile
        (["eth0"], "127.0.0.1", 0, True),
        (["lo"], there, 2, False),
        (["wg*"], there, 3, True),
        (["wg*"], there, 4, True),
        (["wg*"], there, 5, False),
        (["*"], there, 5, True),
        (["br-1", "eth0"], there, 5, True),
        (["192.0.2.0/24", "eth0"], here, 2, True),
        (["192.0.2.0/24", "eth0"], here, 3, False),
        (["192.0.2.0/24", "eth0"], there, 2, False),
    ):
        assert may(said, source, interface, first=False) is answer, (said, source, interface)


def test_a_gears_own_word_goes_before_the_machines(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geard.idling.unit_hooks.waker.socket.if_indextoname", {2: "eth0", 3: "wg0"}.__getitem__)
    write(settings, '[idling]\nwake-interfaces = ["wg0"]\nwake-from = ["10.0.0.0/8"]\n')
    bounds = waker.Bounds()
    bounds.read()
    for said, source, interface, answer in (
        ([], "10.0.0.1", 3, True),
        ([], "10.0.0.1", 2, False),
        (["eth0"], "10.0.0.1", 2, True),
        (["eth0"], "192.0.2.7", 2, False),
        (["*"], "10.0.0.1", 2, True),
        (["0.0.0.0/0", "::/0"], "192.0.2.7", 3, True),
        (["0.0.0.0/0", "::/0"], "192.0.2.7", 2, False),
    ):
        assert bounds.may_wake(said, source, interface, first=True) is answer, (said, source, interface)


def test_an_address_that_is_named_alone_is_not_counted(settings: Path) -> None:
    write(settings, "[idling]\nwakes-of-one = 2\n")

    def wakes(source: str, *said: str) -> int:
        bounds = waker.Bounds()
        bounds.read()
        return sum(bounds.may_wake(list(said), source, 2, first=True) for _ in range(9))

    assert wakes("192.0.2.7") == 2
    assert wakes("192.0.2.7", "192.0.2.7/32") == 9
    assert wakes("192.0.2.7", "192.0.2.0/24") == 2, "a scan from inside a network does not wake them all either"
    assert wakes("192.0.2.7", "0.0.0.0/0", "::/0") == 2
    assert wakes("192.0.2.7", "0.0.0.0/0", "192.0.2.7/32") == 9
    assert wakes("192.0.2.8", "0.0.0.0/0", "192.0.2.7/32") == 2
    assert wakes("fd00::7", "fd00::7/128") == wakes("fd00::7", "fd00::/64") == 9
    assert wakes("fd00::7", "fd00::/63") == 2
    write(settings, '[idling]\nwakes-of-one = 2\nwake-from = ["192.0.2.7", "0.0.0.0/0"]\n')
    assert (wakes("192.0.2.7"), wakes("192.0.2.8")) == (9, 2), "nor where the machine's settings name it"


def test_what_the_kernel_tells_of_a_packet() -> None:
    def attribute(kind: int, data: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)

    header, body = struct.pack(">IHB", 77, 0x0800, 0), b"\0\0\0\0"
    start, rest = body + attribute(1, header), attribute(10, b"\x45\0")
    parse = waker._packet  # pyright: ignore[reportPrivateUsage]
    assert parse(start + attribute(5, struct.pack(">I", 3)) + attribute(7, struct.pack(">I", 9)) + rest) == [
        (77, 3, b"\x45\0")
    ], "in a bridge its port (7) is told too"
    assert parse(start + attribute(6, struct.pack(">I", 4)) + rest) == [(77, 0, b"\x45\0")], "it goes out: our own"
    assert parse(start) == [(77, 0, b"")]
    assert parse(body + rest) == []


def test_settings_that_cannot_be() -> None:
    for wrong, said in (
        (IdlingSettings(wake_interfaces=("eth0", "a/b")), "wake-interfaces: 'a/b'"),
        (IdlingSettings(wake_from=("here",)), "wake-from: "),
        (IdlingSettings(wakes_of_one=-1), "less"),
    ):
        with pytest.raises(Invalid, match=said):
            wrong.check()
