"""The command line: boots a host, measures in it, prints and judges what was found."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from lab.labs import Lab
from lab.machine import LabError

from bench.findings import Findings
from bench.judge import Row, judge
from bench.machine import describe
from bench.measuring import FULL, MIDDLE, PARTS, SHORT, SHORT_PARTS, measure
from bench.parts import HERE, Bench
from bench.performance import render_performance
from bench.plot import growth, render_plot
from bench.results import Run, keep_below, render_results, render_table

DOCS = HERE.parent / "docs"
RESULTS = HERE / "RESULTS.md"
PERFORMANCE = DOCS / "PERFORMANCE.md"
PLOT = DOCS / "performance.svg"


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--short", action="store_true", help="up to 100 gears; fails on ratios only: for CI")
    sizes.add_argument("--middle", action="store_true", help="fewer repetitions, a reboot with 30 gears")
    parser.add_argument("--only", type=parts, metavar="PART,…", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--lab", default="bench", metavar="NAME", help="the lab to boot (bench)")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument(
        "--record",
        action="store_true",
        help="write bench/RESULTS.md, docs/PERFORMANCE.md and docs/performance.svg",
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep every sample, as JSON")
    return parser.parse_args(words)


def parts(text: str) -> tuple[str, ...]:
    wanted = tuple(text.split(","))
    if unknown := set(wanted) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return wanted


def main(words: Sequence[str]) -> int:
    given = arguments(words)
    if given.record and (given.only or given.short):
        raise LabError("only a whole run is recorded; leave out --record, or --only and --short")
    only = given.only or (SHORT_PARTS if given.short else PARTS)
    size = SHORT if given.short else MIDDLE if given.middle else FULL
    lab = Lab(given.lab)
    if lab.hosts():
        raise LabError(f"lab {given.lab} is there already; `scripts/lab --lab {given.lab} down`, or another --lab")
    try:
        lab.up(1, None, bare=False)
        bench = Bench(lab)
        try:
            measure(bench, size, only)
        finally:
            if given.save:
                given.save.write_text(bench.found.as_json())
            rows = judge(bench.found, size.counts)
            print(render_table(rows))
            print(f"load while measuring: {show_load(bench.loads)}")
        if given.record:
            record(describe_run(bench, words, rows), bench.found, size.counts.all)
    finally:
        if not given.keep:
            lab.down()
    return verdict(rows, short=given.short)


def record(run: Run, found: Findings, counts: Sequence[int]) -> None:
    keep_below(RESULTS, render_results(run))
    keep_below(PERFORMANCE, render_performance(run, found, counts))
    PLOT.write_text(render_plot(growth(found, counts)))


def verdict(rows: Sequence[Row], *, short: bool) -> int:
    failed = [row for row in rows if row.fails]
    missed = [row for row in rows if row.well is False]
    if missed:
        print(f"{len(missed)} of {len(rows)} miss their budget, {len(failed)} beyond all slack", file=sys.stderr)
    for row in failed:
        print(f"scripts/bench: {row.what}: {row.measured}, budget {row.budget}", file=sys.stderr)
    return 1 if failed and short else 0


def show_load(loads: Sequence[float]) -> str:
    return f"{min(loads):.1f} to {max(loads):.1f}" if loads else "not known"


def describe_run(bench: Bench, words: Sequence[str], rows: Sequence[Row]) -> Run:
    return Run(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        command=" ".join(
            ["scripts/bench", *(word for word in words if word.startswith("--") and word != "--keep")]
        ),
        machine=describe(bench.host),
        version=bench.host.run("gear", "version").splitlines()[0].strip(),
        load=show_load(bench.loads),
        notes=NOTES,
        rows=rows,
    )


NOTES = (
    "To the answer: one keep-alive connection to /run/geard/geard.sock, paced: after each answer the client"
    " reads the request's report to its end on a second connection and rests 5 ms. All gears' names begin"
    " alike, so they share one folder.",
    "Of fewer than 100 samples the p99 is the largest.",
    "What stands beside has no containers of its own there but the one just made: it is at its best. Quadlet"
    " has as many files as there are gears in the column, and no gear is installed then.",
    "A start ends when the program has made a file in its volume, looked for every 2 ms; then its page is"
    " asked for. The bare podman run has the gear's own arguments and those of the unit that need no unit."
    " Turn about, the first pair left out. `docker run -d` stands beside with a gear's limits, without users"
    " of its own.",
    "A plan: from the descriptor's text, or where all is there from what the hosts have answered, to all"
    " there shall be; containers of 25 instances, each linked to the next. Asking hosts is no part of it.",
    "A live relink counts from the request's first byte to the name of the new far end, said by a connection"
    " by the link, in a gear that runs; meanwhile a program there connects up to a thousand times a second,"
    " keeps every 20th connection, and uses those kept. Far ends are programs on another machine of the lab's"
    " network.",
    "Through a link and directly: from the network namespaces of two gears, of which one has links, to the"
    " same far end; pairs turn about, the ratio is the median of the pairs' own. A transfer goes from the gear"
    " to the far end.",
    "gear deploy: the whole command, three tiers of 20 gears, each linked to the next, until each start was"
    " seen to hold. The loops: a script of podman run -d on each host, all begun together, to the end of the"
    " last, with the gears' own arguments, on hosts that have started those gears just before.",
    "An image of three layers, 100 MB each, half of it text: to both hosts at once, until the last has it; turn"
    " about. The third host hands out layers as they are on its disk, its docker-registry compressed ones.",
    "The reboot counts from systemd's start in the host to the last gear's page; the pool has as many workers"
    " as geard's own boot.",
)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
