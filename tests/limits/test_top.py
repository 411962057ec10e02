"""What a table of use says, from two looks."""

from __future__ import annotations

from geard.limits.requests import Usage
from geard.limits.top import rows_of, table_of


def usage(time: float, seconds: float = 0, **more: int) -> Usage:
    return Usage(memory=more.pop("memory", 0), time=time, cpu_seconds=seconds, **more)


def test_rates_are_differences() -> None:
    before = {("web", False): usage(10, 1, read=100, received=5)}
    now = {("web", False): usage(12, 4, read=300, received=25)}
    (row,) = rows_of(before, now, "cpu")
    assert (row.cpus, row.read, row.received, row.sent) == (1.5, 100, 10, 0)


def test_one_that_was_started_between_them_has_no_rate_yet() -> None:
    now = {("new", False): usage(12, 4), ("again", False): usage(12, 1), ("back", False): usage(3, 9)}
    before = {("again", False): usage(10, 50), ("back", False): usage(10, 5)}
    assert {row.name: row.cpus for row in rows_of(before, now, "name")} == {"new": 0, "again": 0, "back": 0}


def test_order() -> None:
    before = {(name, False): usage(0) for name in ("aa", "bb", "cc")} | {("container", True): usage(0)}
    now = {
        ("aa", False): usage(1, 0.5, memory=1, pids=9),
        ("bb", False): usage(1, 0.9, memory=3),
        ("cc", False): usage(1, 0.1, memory=2),
        ("container", True): usage(1, 5, memory=99),
    }

    def order(sort: str) -> list[str]:
        return [row.name for row in rows_of(before, now, sort)]

    assert order("cpu") == ["bb", "aa", "cc", "container"]
    assert order("memory") == ["bb", "cc", "aa", "container"]
    assert order("pids") == ["aa", "bb", "cc", "container"]
    assert order("name") == ["aa", "bb", "cc", "container"]


def test_layers_are_shown_where_one_is_bounded() -> None:
    plain, bounded = usage(1, disk=1 << 20, disk_limit=4 << 20), usage(1, layer=1 << 20, layer_limit=8 << 20)

    def cells(**looks: Usage) -> list[list[str]]:
        now = {(name, False): look for name, look in looks.items()}
        return [line.split() for line in table_of(rows_of(now, now, "name")).splitlines()]

    header, row = cells(web=plain)
    assert "LAYER" not in header and row[8:10] == ["1M", "4M"] and len(row) == len(header)
    header, db, web = cells(web=plain, db=bounded)
    assert header[8:12] == ["DISK", "OF", "LAYER", "OF"]
    assert db[8:12] == ["-", "-", "1M", "8M"] and web[8:12] == ["1M", "4M", "-", "-"]
