"""A lab's hosts, and what is run in them: each part prints its findings, which are gathered here."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

from lab.host import Host
from lab.labs import Lab
from lab.machine import LabError

from bench.findings import Findings, load, parse_findings
from lab import door

HERE = Path(__file__).resolve().parent
INSIDE = "root/geard-bench"
PART_SECONDS = 5_400.0
DOOR_SECONDS = 60.0


class Bench:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host: Host = lab.host("h1")
        self.found = Findings()
        self.loads: list[float] = []
        self.installed = 0
        self._began = time.monotonic()
        self.send(self.host)

    def send(self, host: Host) -> None:
        """Have in a host what its parts need."""
        target = host.root / INSIDE
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(HERE, target / "bench", ignore=shutil.ignore_patterns("__pycache__"))

    def part(self, name: str, *numbers: int, into: str = "", on: Host | None = None) -> Findings:
        """Measure one thing in the host, or `on` another. Raises LabError with what it said where it failed."""
        host = on or self.host
        self.say(" ".join([name, *map(str, numbers), *([f"on {on.name}"] if on else [])]))
        command = ["env", f"PYTHONPATH=/{INSIDE}", "PYTHONDONTWRITEBYTECODE=1"]
        command += ["/usr/bin/python3", "-m", "bench.inside", name, *map(str, numbers)]
        with TemporaryFile() as output, TemporaryFile() as errors, Path("/dev/null").open() as nothing:
            ends = (nothing.fileno(), output.fileno(), errors.fileno())
            status = door.run(host.door, command, ends, timeout=PART_SECONDS)
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
        sys.stderr.write(f"{time.monotonic() - self._began:6.1f} s  load {load():.1f}  {text}\n")
