"""The command line: boots hosts, deals the scenes out among them, tells what came of every point."""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from lab.host import Host
from lab.labs import Lab
from lab.machine import LabError

from faults.report import render
from lab import door

HERE = Path(__file__).resolve().parent
INSIDE = "root/geard-faults"
JOB_SECONDS = 3_600.0
WAYS = ("command", "agent")
FAULTS = ("kill", "EIO", "ENOSPC", "EDQUOT")
ON_DISK = (
    "install install-full install-ports re-install other-port port limit same-again update update-image rollback"
    " delete delete-purge set-env unset-env reset-env delete-env link unlink"
).split()
RUNNING = (
    "port-running limit-running link-running install-start re-install-start update-running start stop restart"
    " delete-running job"
).split()

Outcome = dict[str, Any]


class Dealer:
    """Jobs, taken by whichever host is free; what each point came to, written down as it is known."""

    def __init__(self, jobs: Sequence[str], record: IO[str] | None) -> None:
        self.jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
        for job in jobs:
            self.jobs.put(job)
        self.outcomes: list[Outcome] = []
        self.failed: list[str] = []
        self._record = record
        self._lock = threading.Lock()

    def serve(self, host: Host) -> None:
        while True:
            try:
                job = self.jobs.get_nowait()
            except queue.Empty:
                return
            self._done(host, job, *sweep(host, job))

    def _done(self, host: Host, job: str, lines: list[str], trouble: str) -> None:
        found = [json.loads(line) for line in lines if line.startswith("{")]
        points = [each for each in found if "total" not in each]
        wrong = [each for each in points if each["wrong"]]
        seconds = sum(each.get("seconds", 0) for each in found if "total" in each)
        with self._lock:
            self.outcomes += points
            print(f"{host.name}  {job:34} {len(points):3} points, {len(wrong)} wrong, {seconds:.0f} s", flush=True)
            for each in wrong:
                print(f"    point {each['point']}, {each['at']}:", *each["wrong"], sep="\n        ", flush=True)
            if trouble:
                self.failed.append(job)
                print(f"    {trouble}", flush=True)
            if self._record is not None:
                self._record.writelines(line + "\n" for line in lines)
                self._record.flush()


def sweep(host: Host, job: str) -> tuple[list[str], str]:
    """What the host said of one job, a line a point; and why it ended early, if it did."""
    command = ["/opt/geard/bin/python3", "-I", f"/{INSIDE}/faults/inside/start.py", f"/{INSIDE}", job]
    with TemporaryFile() as output, TemporaryFile() as errors, Path("/dev/null").open() as nothing:
        try:
            status = door.run(
                host.door, command, (nothing.fileno(), output.fileno(), errors.fileno()), timeout=JOB_SECONDS
            )
        except (door.DoorClosed, TimeoutError) as error:
            status, trouble = -1, str(error)
        else:
            errors.seek(0)
            trouble = f"ended with {status}: {errors.read().decode(errors='replace')[-2000:]}" if status else ""
        output.seek(0)
        return output.read().decode(errors="replace").splitlines(), trouble


def planned(given: argparse.Namespace) -> list[str]:
    """SCENE:WAY:FAULT:STRIDE:FIRST of all that is to be done, the long ones first."""
    jobs: list[str] = []
    for scene in given.scenes or (*RUNNING, *ON_DISK):
        for way in given.ways or WAYS:
            for number, fault in enumerate(given.faults or FAULTS):
                if fault != "kill" and scene in RUNNING:
                    continue  # the disk's part of them is what the others have too
                stride = given.stride * (4 if fault == "EDQUOT" else 1)
                jobs.append(f"{scene}:{way}:{fault}:{stride}:{1 + number % stride}")
    return jobs


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("scenes", nargs="*", choices=[[], *RUNNING, *ON_DISK], help="all, where none is named")
    parser.add_argument("--way", dest="ways", action="append", choices=WAYS, help="by whom (both)")
    parser.add_argument("--fault", dest="faults", action="append", choices=FAULTS, help="what happens (all)")
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="every Nth point; 1: all")
    parser.add_argument("--hosts", type=int, default=2, metavar="N", help="so many hosts work side by side (2)")
    parser.add_argument("--lab", default="faults", metavar="NAME", help="the lab to boot (faults)")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="write every outcome there, a line of JSON each"
    )
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    given = arguments(words)
    lab = Lab(given.lab)
    began = time.monotonic()
    record = given.record.open("a") if given.record else None
    try:
        lab.up(given.hosts, None, bare=False)
        hosts = lab.hosts()[: given.hosts]
        for host in hosts:
            target = host.root / INSIDE
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(HERE, target / "faults", ignore=shutil.ignore_patterns("__pycache__"))
        dealer = Dealer(planned(given), record)
        workers = [threading.Thread(target=dealer.serve, args=(host,)) for host in hosts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        if not given.keep:
            lab.down()
    print(render(dealer.outcomes))
    wrong = sum(bool(each["wrong"]) for each in dealer.outcomes)
    print(f"{len(dealer.outcomes)} points, {wrong} wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong or dealer.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        print(f"scripts/faults: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
