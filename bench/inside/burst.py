"""Installs from several connections at once, and whether every one of them is there afterwards."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.findings import Findings
from bench.inside.client import Client, new_id, wish

UNITS = Path("/var/lib/containers/units")
PORTS = Path("/var/lib/containers/ports/interfaces/1")


def burst(first: int, count: int, connections: int) -> Findings:
    """Install gears number `first` and on, then wait until nothing of that is going on any more."""
    found = Findings()
    jobs = {f"many-{number}": new_id() for number in range(first, first + count)}
    waiting = list(reversed(jobs.items()))
    refused = 0
    lock = threading.Lock()

    def install() -> list[float]:
        nonlocal refused
        took: list[float] = []
        with Client() as client:
            while True:
                with lock:
                    if not waiting:
                        return took
                    gear, id = waiting.pop()
                began = time.perf_counter()
                while client.ask("PUT", f"/container/{gear}", wish(), id, expect=0).status == 503:
                    with lock:
                        refused += 1
                    time.sleep(0.2)
                took.append(time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        results = [pool.submit(install) for _ in range(connections)]
    answered = time.perf_counter() - began
    for result in results:
        for seconds in result.result():
            found.sample("answer", seconds)
    with Client() as client:
        for gear, id in jobs.items():
            client.ask("PUT", f"/container/{gear}?follow=true", wish(), id)
    found.facts["per-second"] = count / answered
    found.facts["settled"] = time.perf_counter() - began
    found.facts["refused"] = refused
    return found


def check(count: int) -> Findings:
    """What is on disk: every gear whole, each port one gear's, and the gear's own word for it."""
    found = Findings()
    lost = 0
    ports: Counter[int] = Counter()
    for number in range(count):
        gear = f"many-{number}"
        unit = UNITS / gear[:2] / f"ctr-{gear}.service"
        definition = read_definition(gear)
        if definition is None or not unit.exists():
            lost += 1
            continue
        for pair in definition["Ports"]:
            port = int(pair["External"])
            ports[port] += 1
            if os.readlink(PORTS / str(port // 100) / str(port)) != str(unit):
                ports[port] += 1
    found.facts["lost"] = lost
    found.facts["ports"] = len(ports)
    found.facts["ports-twice"] = sum(1 for uses in ports.values() if uses > 1)
    return found


def read_definition(gear: str) -> Any:
    """The facts in a gear's definition file; None where it is not there."""
    try:
        text = (UNITS / gear[:2] / f"ctr-{gear}.run").read_text()
    except FileNotFoundError:
        return None
    return json.loads(text.partition("\n")[0].removeprefix("# geard: "))
