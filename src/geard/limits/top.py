"""Use against limit, as a table that is drawn anew, or once. A rate is the difference of two looks."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from geard.cli.asking import ask, ask_places, places, session
from geard.cli.output import structured, table
from geard.containers.sizes import show_size
from geard.identifiers import Locator
from geard.limits.requests import GetUsage, ListUsage, Usage, UsageList
from geard.words import builtins_of

FIRST_LOOK = 0.5
"""seconds between the two looks behind the first table"""
CLEAR, HOME, CLEAR_LINE, CLEAR_REST = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"
HEADER = ("NAME", "CPU", "OF", "MEMORY", "OF", "SWAP", "PIDS", "OF", "DISK", "OF")
LAYER_HEADER = ("LAYER", "OF")
RATES_HEADER = ("READ/s", "WRITE/s", "RECV/s", "SENT/s")


@dataclass(frozen=True)
class Row:
    """One gear, or one slice, between two looks."""

    name: str
    usage: Usage
    cpus: float
    """how many it took"""
    read: float
    written: float
    received: float
    sent: float
    """bytes per second"""
    slice: bool = False


Looks = dict[tuple[str, bool], Usage]


def show(
    targets: Sequence[Locator], hosts: Sequence[str], times: int | None, delay: float, sort: str, form: str
) -> None:
    live = form == "table" and sys.stdout.isatty()
    left = times if times is not None else None if live else 1
    try:
        before = _look(targets, hosts)
        time.sleep(min(delay, FIRST_LOOK))
        first = True
        while left is None or left > 0:
            now = _look(targets, hosts)
            _print(rows_of(before, now, sort), form, live=live, first=first)
            before, first = now, False
            left = None if left is None else left - 1
            if left is None or left > 0:
                if live:
                    session.failures.clear()  # one who did not answer is asked again
                time.sleep(delay)
    except KeyboardInterrupt:
        if not live:
            raise


def _look(targets: Sequence[Locator], hosts: Sequence[str]) -> Looks:
    found: Looks = {}
    for answer, prefix in _answers(targets, hosts):
        found |= {(prefix + gear.id, False): gear.usage for gear in answer.gears}
        found |= {(prefix + slice.name, True): slice.usage for slice in answer.slices}
    return found


def _answers(targets: Sequence[Locator], hosts: Sequence[str]) -> Iterator[tuple[UsageList, str]]:
    for target, answer in ask(targets, lambda at: GetUsage(id=at.id)):
        yield answer, f"{target.at}/" if str(target.at) else ""
    if hosts or not targets:
        for place, answer in ask_places(places(hosts), lambda at: ListUsage()):
            yield answer, f"{place}/" if str(place) else ""


def rows_of(before: Looks, now: Looks, sort: str) -> list[Row]:
    """The gears in that order, then the slices. Pure."""
    rows = [_row(name, is_slice, usage, before.get((name, is_slice))) for (name, is_slice), usage in now.items()]
    keys: dict[str, Callable[[Row], float]] = {
        "cpu": lambda row: row.cpus,
        "memory": lambda row: row.usage.memory,
        "pids": lambda row: row.usage.pids,
        "io": lambda row: row.read + row.written,
        "net": lambda row: row.received + row.sent,
        "name": lambda row: 0,
    }
    return sorted(rows, key=lambda row: (row.slice, 0 if row.slice else -keys[sort](row), row.name))


def _row(name: str, is_slice: bool, usage: Usage, earlier: Usage | None) -> Row:
    seconds = usage.time - earlier.time if earlier is not None else 0

    def per_second(count: Callable[[Usage], float]) -> float:
        """0 where there is nothing to compare with: it was started, or its host was, since the look before."""
        if earlier is None or seconds <= 0:
            return 0
        return max(0.0, (count(usage) - count(earlier)) / seconds)

    return Row(
        name=name,
        usage=usage,
        cpus=per_second(lambda u: u.cpu_seconds),
        read=per_second(lambda u: u.read),
        written=per_second(lambda u: u.written),
        received=per_second(lambda u: u.received),
        sent=per_second(lambda u: u.sent),
        slice=is_slice,
    )


def _print(rows: Sequence[Row], form: str, *, live: bool, first: bool) -> None:
    if form == "name":
        click.echo("\n".join(row.name for row in rows if not row.slice), nl=any(not row.slice for row in rows))
    elif form != "table":
        structured([_for_programs(row) for row in rows], form)
    elif live:
        width, height = shutil.get_terminal_size()
        lines = [line[: width - 1] for line in table_of(rows).split("\n")]
        if len(lines) >= height:
            lines = [*lines[: height - 2], f"and {len(lines) - height + 2} more"]
        drawn = "".join(f"{line}{CLEAR_LINE}\n" for line in lines)
        click.echo(f"{CLEAR if first else ''}{HOME}{drawn}{CLEAR_REST}", nl=False)
    else:
        click.echo(table_of(rows))


def table_of(rows: Sequence[Row]) -> str:
    """Layers are shown only where one is bounded: few disks can. Pure."""
    layers = any(row.usage.layer_limit for row in rows)
    header = (*HEADER, *(LAYER_HEADER if layers else ()), *RATES_HEADER)
    return table(header, [_cells(row, layers=layers) for row in rows])


def _cells(row: Row, *, layers: bool) -> tuple[str, ...]:
    usage = row.usage
    return (
        f"[{row.name}]" if row.slice else row.name,
        f"{row.cpus * 100:.1f}%",
        f"{usage.cpus_limit * 100:g}%" if usage.cpus_limit else "-",
        show_size(usage.memory),
        show_size(usage.memory_limit) if usage.memory_limit else "-",
        show_size(usage.swap) if usage.swap else "-",
        str(usage.pids),
        str(usage.pids_limit or "-"),
        *_on_disk(usage.disk, usage.disk_limit),
        *(_on_disk(usage.layer, usage.layer_limit) if layers else ()),
        *(_rate(rate) for rate in (row.read, row.written)),
        *("" if row.slice else _rate(rate) for rate in (row.received, row.sent)),
    )


def _on_disk(used: int, limit: int) -> tuple[str, str]:
    return show_size(used) if used or limit else "-", show_size(limit) if limit else "-"


def _rate(bytes: float) -> str:
    return show_size(int(bytes)) if bytes >= 1 else "-"


def _for_programs(row: Row) -> dict[str, Any]:
    kind = "Slice" if row.slice else "Id"
    found: dict[str, Any] = {kind: row.name, **builtins_of(row.usage), "Cpus": round(row.cpus, 4)}
    found |= {"ReadPerSecond": round(row.read), "WrittenPerSecond": round(row.written)}
    return found | {"ReceivedPerSecond": round(row.received), "SentPerSecond": round(row.sent)}
