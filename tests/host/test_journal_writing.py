"""What geard tells the journal has fields to search by; the test reads what journald would be sent."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.host import fields
from geard.host.journal_writing import JournalHandler, encode, handler


def read(datagram: bytes) -> dict[str, str]:
    """As journald reads it (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    found: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", datagram[:8])
            value, datagram = datagram[8 : 8 + length], datagram[8 + length + 1 :]
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


@given(st.dictionaries(st.sampled_from(["MESSAGE", "GEARD_GEAR", "GEARD_ASKER"]), st.text()))
def test_no_value_can_add_a_field(entry: dict[str, str]) -> None:
    told = read(encode(entry))
    assert told.keys() == entry.keys()
    assert {n: v for n, v in entry.items() if v.isprintable()} == {
        n: told[n] for n in entry if entry[n].isprintable()
    }


@pytest.fixture
def journald(tmp_path: Path) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "socket"))
        line.settimeout(5)
        yield line


@pytest.fixture
def log(journald: socket.socket) -> Generator[logging.Logger]:
    to_journal = JournalHandler(journald.getsockname())
    to_journal.setFormatter(logging.Formatter("%(message)s"))
    found = logging.getLogger("geard.test_journal")
    found.addHandler(to_journal)
    found.setLevel(logging.INFO)
    found.propagate = False
    yield found
    found.removeHandler(to_journal)
    to_journal.close()


async def test_what_is_logged_for_a_request_has_its_fields_in_its_tasks_too(
    journald: socket.socket, log: logging.Logger
) -> None:
    async def one(id: str) -> None:
        fields.with_fields({fields.REQUEST_ID: id})
        await asyncio.sleep(0)
        await asyncio.create_task(inner())

    async def inner() -> None:
        log.info("done", extra=fields.also({fields.STATUS: "200"}))

    await asyncio.gather(one("A"), one("B"))
    told = [read(journald.recv(65536)) for _ in range(2)]
    assert {entry["GEARD_REQUEST_ID"] for entry in told} == {"A", "B"}
    assert {(e["MESSAGE"], e["GEARD_STATUS"], e["PRIORITY"], e["SYSLOG_IDENTIFIER"]) for e in told} == {
        ("done", "200", "6", "gear")
    }


def test_a_trace_of_several_lines_is_one_entry(journald: socket.socket, log: logging.Logger) -> None:
    try:
        raise ZeroDivisionError("bells")
    except ZeroDivisionError:
        log.exception("a bug")
    told = read(journald.recv(65536))
    assert told["MESSAGE"].startswith("a bug\nTraceback") and told["MESSAGE"].endswith("ZeroDivisionError: bells")
    assert told["PRIORITY"] == "3"


def test_what_journald_does_not_take_goes_to_stderr(
    journald: socket.socket, log: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(5_000):  # nobody reads: the socket's queue is full soon
        log.info("line %d", number)
    left = capfd.readouterr().err.splitlines()
    assert left[-1] == "line 4999"
    log.info("x" * 1_000_000)
    assert capfd.readouterr().err == "x" * 1_000_000 + "\n"


def test_only_a_stderr_that_is_the_journal_is_answered_by_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert not isinstance(handler(), JournalHandler)
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert isinstance(handler(), JournalHandler)
