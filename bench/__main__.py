"""The command line: boots a host, runs the parts in it, prints and judges what they found."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from lab.host import Host
from lab.labs import Lab
from lab.machine import LabError

from bench.findings import Findings, load, parse_findings
from bench.judge import FEW, MANY, Counts, Row, judge
from bench.machine import describe
from bench.results import Run, record, render_table
from lab import door

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
INSIDE = "root/geard-bench"
PART_SECONDS = 2_400.0
DOOR_SECONDS = 60.0


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    counts: Counts
    cycles: int
    starts: int
    burst: int
    creates: int
    reloads: int
    pairs: int
    processes: int
    looks: int
    reboot: int


SHORT = Size(
    Counts(10, 100), cycles=40, starts=8, burst=45, creates=15, reloads=3, pairs=5, processes=8, looks=15, reboot=0
)
MIDDLE = Size(
    Counts(10, 1_000), cycles=100, starts=15, burst=198, creates=40, reloads=3, pairs=9, processes=15, looks=40,
    reboot=30,
)  # fmt: skip
FULL = Size(
    Counts(10, 1_000), cycles=200, starts=40, burst=330, creates=100, reloads=5, pairs=15, processes=25, looks=100,
    reboot=200,
)  # fmt: skip


class Bench:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host: Host = lab.host("h1")
        self.found = Findings()
        self.loads: list[float] = []
        self._began = time.monotonic()
        target = self.host.root / INSIDE
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(HERE, target / "bench", ignore=shutil.ignore_patterns("__pycache__"))

    def part(self, name: str, *numbers: int, into: str = "") -> Findings:
        """Measure one thing in the host. Raises LabError with what it said where it failed."""
        self.say(" ".join([name, *map(str, numbers)]))
        command = ["env", f"PYTHONPATH=/{INSIDE}", "PYTHONDONTWRITEBYTECODE=1"]
        command += ["/usr/bin/python3", "-m", "bench.inside", name, *map(str, numbers)]
        with TemporaryFile() as output, TemporaryFile() as errors, Path("/dev/null").open() as nothing:
            ends = (nothing.fileno(), output.fileno(), errors.fileno())
            status = door.run(self.host.door, command, ends, timeout=PART_SECONDS)
            output.seek(0)
            errors.seek(0)
            if status:
                raise LabError(f"{name} ended with {status}: {errors.read().decode(errors='replace')[-3000:]}")
            found = parse_findings(output.read().decode())
        self.found.add(found, into)
        self.loads.append(load())
        return found

    def reboot(self) -> None:
        """In good order, and with more patience than the lab has: many gears take their time to stop."""
        self.say("reboot")
        began = time.monotonic()
        with self.lab.lock():
            self.host.power_off(PART_SECONDS)
            self.found.facts["shutdown.seconds"] = time.monotonic() - began
            self.lab.start(self.host, None)
        self.await_door()

    def await_door(self) -> None:
        """Until commands can be run in the host, which is before it has booted."""
        end = time.monotonic() + DOOR_SECONDS
        while time.monotonic() < end:
            try:
                self.host.ask("true", seconds=5)
                return
            except (door.DoorClosed, TimeoutError):
                time.sleep(0.02)
        raise LabError(f"{self.host.name} does not come up; see {self.host.log('console.log')}")

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  load {load():.1f}  {text}", file=sys.stderr, flush=True)


def measure(bench: Bench, size: Size) -> None:
    counts = size.counts
    bench.part("quadlet", counts.many, size.reloads)
    bench.part("memory", 1, into="idle.")
    bench.part("burst", 0, counts.few, into="fill.")
    bench.part("answers", size.cycles, size.starts, into=FEW)
    fill(bench, size)
    bench.part("check", counts.many)
    bench.part("answers", size.cycles, size.starts, into=MANY)
    compared = bench.part("create", size.creates, into="create.")
    bench.found.samples["create"] = compared.samples["create"]
    bench.part("starts", size.pairs)
    bench.part("programs", size.processes)
    bench.part("lists", size.looks)
    bench.part("logs", size.looks)
    bench.part("memory", 0, into="many.")
    if size.reboot:
        bench.part("run-gears", size.reboot, into="run.")
        bench.reboot()
        bench.found.facts["boot.asked"] = size.reboot
        bench.part("after-boot", size.reboot, into="boot.")
        bench.part("bare-starts", size.reboot, into="bare.")


def fill(bench: Bench, size: Size) -> None:
    """Install until there are many; the first and the last burst are measured."""
    few, many = size.counts.few, size.counts.many
    refused = 0.0
    at = few
    while at < many:
        last = many - at <= size.burst
        place = FEW if at == few else MANY if last else "between."
        refused += bench.part("burst", at, min(size.burst, many - at), into=place).facts["refused"]
        at += size.burst
    bench.found.facts["refused"] = refused


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small counts; fails on ratios only: for CI")
    parser.add_argument("--middle", action="store_true", help="1,000 gears, fewer repetitions, a reboot with 30")
    parser.add_argument("--lab", default="bench", metavar="NAME", help="the lab to boot (bench)")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.parent.name}/{RESULTS.name}")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    given = arguments(words)
    size = SHORT if given.short else MIDDLE if given.middle else FULL
    lab = Lab(given.lab)
    if lab.hosts():
        raise LabError(f"lab {given.lab} is there already; `scripts/lab --lab {given.lab} down`, or another --lab")
    try:
        lab.up(1, None, bare=False)
        bench = Bench(lab)
        try:
            measure(bench, size)
        finally:
            rows = judge(bench.found, size.counts)
            print(render_table(rows))
            print(f"load while measuring: {show_load(bench.loads)}")
        if given.record:
            record(describe_run(bench, words, rows), RESULTS)
    finally:
        if not given.keep:
            lab.down()
    return verdict(rows, short=given.short)


def verdict(rows: Sequence[Row], *, short: bool) -> int:
    failed = [row for row in rows if row.fails]
    missed = [row for row in rows if row.well is False]
    if missed:
        print(f"{len(missed)} of {len(rows)} miss their budget, {len(failed)} beyond all slack", file=sys.stderr)
    for row in failed:
        print(f"scripts/bench: {row.what}: {row.measured}, budget {row.budget}", file=sys.stderr)
    return 1 if failed and short else 0


def show_load(loads: Sequence[float]) -> str:
    return f"{min(loads):.1f} to {max(loads):.1f}"


def describe_run(bench: Bench, words: Sequence[str], rows: Sequence[Row]) -> Run:
    return Run(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        command=" ".join(["scripts/bench", *(word for word in words if word != "--keep")]),
        machine=describe(bench.host),
        version=bench.host.run("gear", "version").splitlines()[0].strip(),
        load=show_load(bench.loads),
        notes=NOTES,
        rows=rows,
    )


NOTES = (
    "To the answer: one keep-alive connection to /run/geard/geard.sock, paced: after each answer the client reads"
    " the request's report to its end on a second connection and rests 5 ms. All gears' names begin alike, so they"
    " share one folder.",
    "Of fewer than 100 samples the p99 is the largest.",
    "A start ends when the program has made a file in its volume, looked for every 2 ms; then its page is asked"
    " for. The bare podman run has the gear's own arguments and those of the unit that need no unit. Turn about,"
    " the first pair left out.",
    "The reboot counts from systemd's start in the host to the last gear's page; the pool has as many workers as"
    " geard's own boot.",
)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
