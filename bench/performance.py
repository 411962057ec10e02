"""docs/PERFORMANCE.md: the same findings for who wants to know what to expect. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.findings import Findings, p50, p99
from bench.judge import AT_ONCE, at
from bench.results import HEAD, Run, cells, markdown

GROWTH = (
    ("install, one port", "install"),
    ("install, no port", "install-plain"),
    ("start", "start"),
    ("stop", "stop"),
    ("set-env", "set-env"),
    ("link", "link"),
    ("delete", "delete"),
    ("list of all", "list"),
    ("beside: podman create over REST", "create"),
    ("beside: docker create over REST", "docker-create"),
    ("beside: a Quadlet file + daemon-reload", "quadlet"),
    ("the disk: one durable file of 2 KiB", "fsync"),
)
CROWDS = ("connections", "installs a second", "to each answer: p50", "p99", "all settled after")


def render_performance(run: Run, found: Findings, counts: Sequence[int]) -> str:
    machine = "\n".join(f"- {line}" for line in run.machine)
    notes = "".join(f"- {note}\n" for note in run.notes)
    return f"""\
# Performance

What an answer promises is on disk when it comes, and what it costs must not grow with the number of gears. This
page is written by `{run.command}` ({run.date}, {run.version}); the load of the
whole machine was {run.load} meanwhile. Every figure can be had again with that command. Another machine has other
times: compare the ratios.

{machine}

![milliseconds to the answer by the number of gears installed](performance.svg)

## By the number of gears installed

Milliseconds to the answer: the median, and behind the stroke the 99th percentile.

{markdown(["", *(f"{count:,}" for count in counts)], list(grown(found, counts)))}
## Many at once

Installs with one port each, from so many connections, none resting.

{markdown(CROWDS, list(crowds(found)))}
## Memory of the agent

{markdown(["gears installed", "RSS", "PSS"], list(memory(found, counts)))}
## Budgets

{markdown(HEAD, cells(run.rows))}
## How it is measured

{notes}
"""


def grown(found: Findings, counts: Sequence[int]) -> Iterator[list[str]]:
    for spoken, name in GROWTH:
        rows = [found.samples.get(at(count) + name) for count in counts]
        if any(rows):
            yield [spoken, *(f"{short(p50(row))} / {short(p99(row))}" if row else "" for row in rows)]


def crowds(found: Findings) -> Iterator[list[str]]:
    for connections in AT_ONCE:
        place = f"at-once-{connections}."
        if answers := found.samples.get(f"{place}answer"):
            rate, settled = found.facts[f"{place}per-second"], found.facts[f"{place}settled"]
            yield [
                f"{connections}",
                f"{rate:.0f}",
                f"{short(p50(answers))} ms",
                f"{short(p99(answers))} ms",
                f"{settled:.1f} s for {len(answers)}",
            ]


def memory(found: Findings, counts: Sequence[int]) -> Iterator[list[str]]:
    places = [("none, just started", "idle."), *((f"{count:,}", at(count)) for count in counts)]
    for spoken, place in places:
        if f"{place}rss" in found.facts:
            yield [spoken, *(f"{found.facts[place + kind]:.1f} MB" for kind in ("rss", "pss"))]


def short(milliseconds: float) -> str:
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.1f}"
