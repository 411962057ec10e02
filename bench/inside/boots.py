"""A reboot with many running gears, and the same containers started by podman from a bounded pool."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.findings import Findings
from bench.inside.burst import read_definition
from bench.inside.client import Client, new_id
from bench.inside.podman import CONSTANT, PODMAN, page, pool_size, run_words

PATIENCE = 1_800.0


def names(count: int) -> list[str]:
    return [f"many-{number}" for number in range(count)]


def each(names: Sequence[str], deed: Callable[[str], None]) -> None:
    with ThreadPoolExecutor(pool_size()) as pool:
        list(pool.map(deed, names))


def run_gears(count: int) -> Findings:
    """Have gears run, a few at a time."""

    def start(name: str) -> None:
        id = new_id()
        with Client() as client:
            client.ask("PUT", f"/container/{name}/started?follow=true", None, id)

    found = Findings()
    began = time.perf_counter()
    each(names(count), start)
    found.facts["seconds"] = time.perf_counter() - began
    found.facts["running"] = await_all(ports_of(count))
    return found


def ports_of(count: int) -> list[int]:
    """From the disk: after a boot the agent is not to be woken for this."""
    return [int(read_definition(name)["Ports"][0]["External"]) for name in names(count)]


def await_all(ports: Sequence[int], patience: float = PATIENCE) -> int:
    """How many answer, when all do or patience has ended. One is asked at a time: this must not be a load."""
    end = time.monotonic() + patience
    waiting = list(ports)
    while waiting and time.monotonic() < end:
        if page(waiting[0]):
            waiting.pop(0)
        else:
            time.sleep(0.05)
    return len(ports) - len(waiting)


def after_boot(count: int) -> Findings:
    """Asked while it boots: when all answer, counted from the start of systemd and of `gear boot`."""
    found = Findings()
    found.facts["running"] = await_all(ports_of(count))
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    shown = subprocess.run(
        ["systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found.facts["since-boot"] = now - int(shown) / 1e6
    shown = subprocess.run(
        ["systemctl", "show", "--property=ExecMainStartTimestampMonotonic", "--value", "geard-boot.service"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found.facts["since-gear-boot"] = now - int(shown) / 1e6
    return found


def bare_starts(count: int) -> Findings:
    """Stop the gears, make their containers with podman, and start those: `podman start` by a pool."""
    found = Findings()
    ports = ports_of(count)

    def stop(name: str) -> None:
        with Client() as client:
            client.ask("PUT", f"/container/{name}/stopped?follow=true", None, new_id())

    def run(*words: str) -> None:
        subprocess.run([*PODMAN, *words], check=True, capture_output=True)

    each(names(count), stop)
    constant = [word for word in CONSTANT if word != "--rm"]
    each(names(count), lambda name: run("create", *constant, *run_words(name)))
    time.sleep(2)
    began = time.perf_counter()
    each(names(count), lambda name: run("start", f"ctr-{name}"))
    found.facts["running"] = await_all(ports)
    found.facts["seconds"] = time.perf_counter() - began
    each(names(count), lambda name: run("rm", "--force", "--time=1", f"ctr-{name}"))
    return found
