"""What a link does to connections: led elsewhere while they come, and beside direct ones. The far ends are on
another machine (`bench.linking`); the near end is a program in the network namespace of a gear that runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

from bench.findings import Findings
from bench.inside.client import IMAGE, Client, Paced, Unexpected, new_id

GEAR, UNLINKED = "many-linked", "many-unlinked"
INSIDE = "127.0.0.1"
PLACE, SINK = 7_001, 7_002
REST_SECONDS = 0.05
PINGS, MEETINGS, MEGABYTES = 400, 60, 200


def relink(times: int, far: int, one: int, two: int) -> Findings:
    """A running gear's link is led to one far end and the other by turns, while a program connects by it all the
    time and others of its connections go on.
    """
    found = Findings()
    address = str(IPv4Address(far))
    with Paced() as paced, running(paced, GEAR), Client() as asking, Client() as joining:
        path = f"/container/{GEAR}/links"
        paced.ask("PUT", path, links(address, one))
        with talking(GEAR, "watch", INSIDE, str(PLACE)) as watcher:
            assert watcher.stdin and watcher.stdout
            watcher.stdout.readline()
            changes: list[tuple[float, str]] = []
            for number in range(times):
                time.sleep(REST_SECONDS)
                name, port = (("two", two), ("one", one))[number % 2]
                id, body = new_id(), links(address, port)
                changes.append((time.monotonic(), name))
                found.sample("answer", asking.ask("PUT", path, body, id).seconds)
                joining.ask("PUT", f"{path}?follow=true", body, id)
            time.sleep(REST_SECONDS)
            watcher.stdin.close()
            *met, last = watcher.stdout.read().splitlines()
        judge_meetings(found, changes, [parse_met(line) for line in met])
        _, kept, _, lost = last.split()
        found.facts |= {"kept": int(kept), "lost": int(lost)}
    return found


class Met(NamedTuple):
    """A connection: when it was begun, when its far end had said its name, and that; `-` where it failed."""

    began: float
    heard: float
    name: str


def parse_met(line: str) -> Met:
    began, heard, name = line.split()
    return Met(float(began), float(heard), name)


def judge_meetings(found: Findings, changes: Sequence[tuple[float, str]], met: Sequence[Met]) -> None:
    """From asking for each change to the first word of the new far end, and what went wrong. `met` is in order."""
    begins = [each.began for each in met]
    went_back = 0
    for number, (asked, name) in enumerate(changes):
        until = changes[number + 1][0] if number + 1 < len(changes) else float("inf")
        first = next(
            (each for each in met[max(0, bisect_left(begins, asked) - 1) :] if led(each, asked, name)), None
        )
        if first is None or first.heard > until:
            raise Unexpected(f"no connection was led to {name} after the change to it")
        found.sample("led", first.heard - asked)
        later = met[bisect_left(begins, first.heard) : bisect_left(begins, until)]
        # one that was under way when the next was asked for may be either's
        went_back += sum(each.name not in (name, "-") and each.heard < until for each in later)
    found.facts["went-back"] = went_back
    found.facts["refused"] = sum(each.name == "-" for each in met)
    found.facts["met"] = len(met)


def led(each: Met, asked: float, name: str) -> bool:
    return each.heard > asked and each.name == name


def through(pairs: int, far: int, port: int, sink: int) -> Findings:
    """By a link, and beside it directly from a gear that has none: turn about, the first pair left out."""
    found = Findings()
    address = str(IPv4Address(far))
    with Paced() as paced, running(paced, GEAR), running(paced, UNLINKED):
        paced.ask("PUT", f"/container/{GEAR}/links", links(address, port, sink))
        with talking(GEAR, "ask") as linked, talking(UNLINKED, "ask") as direct:
            ways = [
                ("linked", linked, INSIDE, PLACE, SINK),
                ("direct", direct, address, port, sink),
            ]
            for number in range(pairs + 1):
                for name, talker, host, place, drain in ways if number % 2 else reversed(ways):
                    took = {
                        "meet": answer(talker, f"meet {host} {place} {MEETINGS}"),
                        "ping": answer(talker, f"ping {host} {place} {PINGS}"),
                        "push": answer(talker, f"push {host} {drain} {MEGABYTES}"),
                    }
                    for what, seconds in took.items():
                        if number:
                            found.sample(f"{name}-{what}", seconds)
    found.facts["megabytes"] = MEGABYTES
    return found


def links(address: str, port: int, sink: int = 0) -> dict[str, Any]:
    pairs = [(PLACE, port), (SINK, sink)] if sink else [(PLACE, port)]
    return {"NetworkLinks": [{"FromPort": inside, "ToHost": address, "ToPort": to} for inside, to in pairs]}


@contextmanager
def running(paced: Paced, gear: str) -> Generator[None]:
    paced.ask("PUT", f"/container/{gear}", {"Image": IMAGE, "Started": True})
    try:
        yield
    finally:
        paced.ask("DELETE", f"/container/{gear}", {"Purge": True})


@contextmanager
def talking(gear: str, *words: str) -> Generator[subprocess.Popen[str]]:
    """A program of the bench's in the network namespace of a gear."""
    pid = Path(f"/run/geard/gears/ctr-{gear}/pid").read_text().strip()
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-m", "bench.inside.talking", *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as child:
        try:
            yield child
        finally:
            child.terminate()


def answer(talker: subprocess.Popen[str], question: str) -> float:
    assert talker.stdin and talker.stdout
    talker.stdin.write(f"{question}\n")
    talker.stdin.flush()
    said = talker.stdout.readline()
    if not said:
        raise Unexpected(f"{question}: the program at the near end has ended")
    return float(said)
