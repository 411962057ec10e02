"""What is measured, in which order, on a host of the lab."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from lab.host import Host
from lab.labs import Lab
from lab.machine import LabError

from bench.findings import Findings, load, parse_findings
from bench.judge import AT_ONCE, Counts, at
from lab import door

HERE = Path(__file__).resolve().parent
INSIDE = "root/geard-bench"
PART_SECONDS = 2_400.0
DOOR_SECONDS = 60.0
FILL = 500
FILLING = 8
"""connections that install what is only to be there"""

PARTS = (
    "quadlet",
    "answers",
    "burst",
    "create",
    "docker",
    "starts",
    "programs",
    "memory",
    "lists",
    "load",
    "logs",
    "reboot",
)
# What no ratio is asked of takes time that CI has not.
SHORT_PARTS = tuple(part for part in PARTS if part not in ("docker", "load", "reboot"))


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
    idle: int
    reboot: int


SHORT = Size(
    Counts((10, 100), 100), cycles=40, starts=8, burst=30, creates=15, reloads=3, pairs=5, processes=8, looks=15,
    idle=0, reboot=0,
)  # fmt: skip
MIDDLE = Size(
    Counts((10, 100, 1_000, 5_000), 1_000), cycles=100, starts=10, burst=200, creates=30, reloads=3, pairs=9,
    processes=15, looks=40, idle=60, reboot=30,
)  # fmt: skip
FULL = Size(
    Counts((10, 100, 1_000, 5_000), 1_000), cycles=200, starts=40, burst=300, creates=60, reloads=5, pairs=15,
    processes=25, looks=100, idle=60, reboot=200,
)  # fmt: skip


class Bench:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host: Host = lab.host("h1")
        self.found = Findings()
        self.loads: list[float] = []
        self.installed = 0
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

    def install(self, count: int, connections: int, into: str) -> None:
        found = self.part("burst", self.installed, count, connections, into=into)
        self.installed += count
        self.found.facts["refused"] = self.found.facts.get("refused", 0) + found.facts["refused"]

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


def measure(bench: Bench, size: Size, only: Collection[str]) -> None:
    """Those of PARTS that are in `only`, at each count of installed gears or at `size.counts.most`."""
    if "quadlet" in only:
        for count in size.counts.all:
            bench.part("quadlet", count, size.reloads, into=at(count))
    if "memory" in only:
        bench.part("memory", 1, into="idle.")
    for count in size.counts.all:
        fill(bench, size, count, only)
        at_each(bench, size, count, only)
        if count == size.counts.most:
            at_most(bench, size, only)
    if "burst" in only:
        bench.part("check", bench.installed)


def fill(bench: Bench, size: Size, count: int, only: Collection[str]) -> None:
    """Install until there are so many; the last of them before the budgets' count in measured bursts."""
    bursts = AT_ONCE if "burst" in only and count == size.counts.most else ()
    while (left := count - bench.installed - size.burst * len(bursts)) > 0:
        bench.install(min(FILL, left), FILLING, into="fill.")
    for connections in bursts:
        bench.install(size.burst, connections, into=f"at-once-{connections}.")


def at_each(bench: Bench, size: Size, count: int, only: Collection[str]) -> None:
    if "answers" in only:
        bench.part("answers", size.cycles, size.starts, into=at(count))
    if "create" in only:
        bench.part("create", size.creates, into=at(count))
    if "docker" in only:
        bench.part("docker-creates", size.creates, into=at(count))
    if "lists" in only:
        bench.part("lists", size.looks, into=at(count))
    if "memory" in only:
        bench.part("memory", 0, into=at(count))


def at_most(bench: Bench, size: Size, only: Collection[str]) -> None:
    if "memory" in only and size.idle:
        bench.part("idle", size.idle, into="idle.")
    if "starts" in only:
        bench.part("starts", size.pairs)
    if "docker" in only:
        bench.part("docker-runs", size.pairs)
    if "programs" in only:
        bench.part("programs", size.processes)
    if "load" in only:
        for connections in AT_ONCE:
            bench.part("load", size.looks * 8, connections, into=f"load-{connections}.")
    if "logs" in only:
        bench.part("logs", size.looks)
    if "reboot" in only and size.reboot:
        bench.part("run-gears", size.reboot, into="run.")
        bench.reboot()
        bench.found.facts["boot.asked"] = size.reboot
        bench.part("after-boot", size.reboot, into="boot.")
        bench.part("bare-starts", size.reboot, into="bare.")
