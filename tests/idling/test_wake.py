"""What the waker may ask for, and what comes of it; and how the waker reads packets."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from geard.idling.unit_hooks import wake, waker


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemd was asked for, on a machine with the idle gear `web` that then listens at 8080."""
    for name in ("units/we", "wants", "run/idle", "run/gears/ctr-web"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "units/we/ctr-web.service").write_text("")
    (tmp_path / "units/we/ctr-web.idle").write_text("depth stop\n")
    (tmp_path / "run/idle/ctr-web").write_text("tcp 4100 8080 *\n")
    asked: list[str] = []

    def run(argv: list[str]) -> int:
        asked.append(argv[-1])
        return 0

    def listens(state: str, port: int) -> bool:
        return port == 8080

    def silent(*words: str, **more: str) -> None:
        pass

    monkeypatch.setattr(wake, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(wake, "WANTS", str(tmp_path / "wants"))
    monkeypatch.setattr(wake, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(wake, "_run", run)
    monkeypatch.setattr(wake, "_wait_for", listens)
    monkeypatch.setattr(wake, "_note", silent)
    return asked


def test_an_idle_gear_is_started_and_is_to_run(started: list[str], tmp_path: Path) -> None:
    assert wake.wake("web", "4100", "10.0.0.1") == ""
    assert started == ["ctr-web.service"]
    assert not (tmp_path / "units/we/ctr-web.idle").exists()
    assert os.readlink(tmp_path / "wants/ctr-web.service") == str(tmp_path / "units/we/ctr-web.service")


def test_a_gear_without_the_flag_is_left_alone(started: list[str], tmp_path: Path) -> None:
    (tmp_path / "units/we/ctr-web.idle").unlink()
    assert wake.wake("web", "4100", "10.0.0.1") == "it is not idle"
    assert wake.wake("db", "4100", "10.0.0.1") == "it is not idle"
    assert started == []
    assert not os.listdir(tmp_path / "wants")


def test_a_deleted_one_is_not_started(started: list[str], tmp_path: Path) -> None:
    (tmp_path / "units/we/ctr-web.service").unlink()
    assert wake.wake("web", "4100", "10.0.0.1") == "it is not idle"
    assert started == []


def test_another_waker_waits_for_the_same_wake(started: list[str], tmp_path: Path) -> None:
    (tmp_path / "units/we/ctr-web.idle").unlink()
    (tmp_path / "wants/ctr-web.service").symlink_to(tmp_path / "units/we/ctr-web.service")
    assert wake.wake("web", "4100", "10.0.0.1") == ""
    assert started == ["ctr-web.service"], "which systemd takes for the start that is under way"


@pytest.mark.parametrize(
    "words",
    ["", "web", "web x", "../web 4100 ::1", "we/b 4100 ::1", "web 4100 a;b", "w 4100 ::1", "web 999999 ::1"],
)
def test_words_that_cannot_be(words: str, started: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def read(fd: int, count: int) -> bytes:
        return words.encode()

    def answer(text: str) -> int:
        said.append(text)
        return 0

    monkeypatch.setattr(os, "read", read)
    monkeypatch.setattr(wake, "_answer", answer)
    assert wake.main() == 0
    assert said == ["refused: no such words"]
    assert started == []


def test_where_a_packet_goes() -> None:
    ports = struct.pack(">HH", 50_000, 4100) + b"\0" * 16
    ipv4 = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]) + ports
    ipv6 = bytes([0x60, 0, 0, 0, 0, 20, 6, 64]) + b"\0" * 15 + b"\1" + b"\0" * 15 + b"\2" + ports
    read = waker._addresses  # pyright: ignore[reportPrivateUsage]
    assert read(ipv4) == ("10.0.0.1", 4100)
    assert read(ipv6) == ("::1", 4100)
    assert read(ipv4[:20]) == ("", 0)
    assert read(b"") == ("", 0)
    udp = ipv4[:9] + b"\x11" + ipv4[10:]
    assert read(udp)[1] == 0


def test_what_is_held_in_nfts_words() -> None:
    element, changes = waker._element, waker._changes  # pyright: ignore[reportPrivateUsage]
    found = {element("*", "4100"), element("10.0.0.2", "4101"), element("fd00::2", "4102")}
    assert changes("add", found) == (
        "add element inet geard_idle all_addresses { 4100 }\n"
        "add element inet geard_idle ipv4 { 10.0.0.2 . 4101 }\n"
        "add element inet geard_idle ipv6 { fd00::2 . 4102 }\n"
    )


def test_only_what_takes_from_the_own_table_is_news() -> None:
    takes, message, attribute = waker._takes, waker._message, waker._attribute  # pyright: ignore[reportPrivateUsage]
    own, other = attribute(1, b"geard_idle\0"), attribute(1, b"filter\0")
    assert takes(message(10 << 8 | 2, 0, 1, 0, own))
    assert not takes(message(10 << 8 | 2, 0, 1, 0, other))
    assert not takes(message(10 << 8 | 0, 0, 1, 0, own)), "made, not deleted"
    assert not takes(message(10 << 8 | 2, 0, 2, 0, own)), "of another family"
