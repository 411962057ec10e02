"""What is measured, in which order, on a host of the lab."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bench.deploying import deploying
from bench.fetching import fetching
from bench.judge import AT_ONCE, PLANS, Counts, at, plan_of
from bench.linking import ONE, TWO, far_ends
from bench.parts import Bench

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
    "jobs",
    "builds",
    "programs",
    "memory",
    "lists",
    "load",
    "logs",
    "planning",
    "relink",
    "links",
    "waking",
    "reboot",
    "deploy",
    "images",
)
# What no ratio is asked of takes time that CI has not, and so do three hosts.
SHORT_PARTS = tuple(
    part
    for part in PARTS
    if part not in ("builds", "docker", "load", "links", "waking", "reboot", "deploy", "images")
)


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
    plans: int
    relinks: int
    transfers: int
    wakes: int
    crowd: int
    sleepers: int
    noise: int
    """seconds"""
    deploys: int
    images: int


SHORT = Size(
    Counts((10, 100), 100), cycles=40, starts=8, burst=30, creates=15, reloads=3, pairs=5, processes=8, looks=15,
    idle=0, reboot=0, plans=3, relinks=20, transfers=0, wakes=0, crowd=0,
    sleepers=0, noise=0, deploys=0, images=0,
)  # fmt: skip
MIDDLE = Size(
    Counts((10, 100, 1_000, 5_000), 1_000), cycles=100, starts=10, burst=200, creates=30, reloads=3, pairs=9,
    processes=15, looks=40, idle=60, reboot=30, plans=9, relinks=100, transfers=40, wakes=20, crowd=500,
    sleepers=200, noise=60, deploys=2, images=3,
)  # fmt: skip
FULL = Size(
    Counts((10, 100, 1_000, 5_000), 1_000), cycles=200, starts=40, burst=300, creates=60, reloads=5, pairs=15,
    processes=25, looks=100, idle=60, reboot=200, plans=15, relinks=200, transfers=80, wakes=100, crowd=500,
    sleepers=200, noise=3_600, deploys=4, images=6,
)  # fmt: skip


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
    if "deploy" in only:
        deploying(bench, size.deploys)
    if "images" in only:
        fetching(bench, size.images)


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
    if "jobs" in only:
        bench.part("jobs", size.pairs)
    if "builds" in only:
        bench.part("builds", size.pairs)
    if "docker" in only:
        bench.part("docker-runs", size.pairs)
    if "programs" in only:
        bench.part("programs", size.processes)
    if "load" in only:
        for connections in AT_ONCE:
            bench.part("load", size.looks * 8, connections, into=f"load-{connections}.")
    if "logs" in only:
        bench.part("logs", size.looks)
    if "planning" in only:
        for instances, hosts in PLANS:
            bench.part("planning", instances, hosts, size.plans, into=plan_of(instances))
    if "relink" in only:
        with far_ends(bench.lab) as far:
            bench.part("relink", size.relinks, far, ONE[0], TWO[0], into="relink.")
    if "links" in only:
        with far_ends(bench.lab) as far:
            bench.part("through", size.transfers, far, *ONE, into="through.")
    if "waking" in only:
        bench.part("wakes", size.wakes)
        bench.part("awake", size.transfers, into="awake.")
        bench.part("crowd", size.crowd)
        bench.part("sleepers", size.sleepers, size.noise, size.sleepers // 2, into="sleepers.")
    if "reboot" in only and size.reboot:
        bench.part("run-gears", size.reboot, into="run.")
        bench.reboot()
        bench.found.facts["boot.asked"] = size.reboot
        bench.part("after-boot", size.reboot, into="boot.")
        bench.part("bare-starts", size.reboot, into="bare.")
