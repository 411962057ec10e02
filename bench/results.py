"""Rows as a table for the terminal, and RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.judge import Row

MARKS = {True: "ok", False: "MISSED", None: ""}
HEAD = ("what", "measured", "budget", "")


@dataclass(frozen=True)
class Run:
    """One run of the bench, to be written down."""

    date: str
    command: str
    machine: Sequence[str]
    version: str
    load: str
    notes: Sequence[str]
    rows: Sequence[Row]


def cells(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    return [(row.what, row.measured, row.budget, MARKS[row.well]) for row in rows]


def render_table(rows: Sequence[Row]) -> str:
    lines = [HEAD, *cells(rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join([*(line[column].ljust(widths[column]) for column in range(3)), line[3]]).rstrip()
        for line in lines
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---" for _ in head], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def render_results(run: Run) -> str:
    machine = "\n".join(f"- {line}" for line in run.machine)
    notes = "".join(f"- {note}\n" for note in run.notes)
    return f"""\
# Results of scripts/bench

Written by `{run.command}`; to repeat it, run that as root on a Debian with systemd-nspawn
(`scripts/lab` gets what is missing). Another machine has other times; the ratios, each of one run, should hold.
A budget that is missed stands here as missed. For reading: [PERFORMANCE.md](../docs/PERFORMANCE.md).

{run.date}, {run.version}, load of the whole machine while measuring: {run.load}.

{machine}

{markdown(HEAD, cells(run.rows))}
{notes}
"""


MARKER = "<!-- below: written by people -->\n"


def keep_below(path: Path, text: str) -> None:
    """Write `text`, and after it what people have written below the marker before."""
    before = path.read_text() if path.exists() else ""
    _, found, kept = before.partition(MARKER)
    path.write_text(text + MARKER + (kept if found else ""))
