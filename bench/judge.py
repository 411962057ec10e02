"""From findings to rows: what was measured, what is asked of it, whether it is so. Pure.

The budgets are the project's own. `fails` says which rows make `--short` fail: ratios, with the slack given here,
and what must never be. Absolute times are told and judged, but fail nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench.findings import Findings, p50, p99

SLACK = 1.6
# A ratio of two medians of fewer samples of some milliseconds each fails nothing: one neighbour decides it.
ENOUGH = 20

# where the findings of a part stand under other names
FEW, MANY = "few.", "many."

VERBS = ("install", "install-plain", "start", "stop", "set-env", "delete")
SPOKEN = {"install": "install, one port", "install-plain": "install, no port"}


@dataclass(frozen=True)
class Row:
    what: str
    measured: str
    budget: str
    well: bool | None
    """None: told, not judged"""
    fails: bool = False
    """it makes --short fail"""


@dataclass(frozen=True)
class Counts:
    few: int
    many: int


def judge(found: Findings, counts: Counts) -> list[Row]:
    return [
        *_answers(found, counts),
        *_bursts(found),
        *_compared(found, counts),
        *_starts(found, counts),
        *_programs(found),
        *_memory(found, counts),
        *_looks(found),
        *_boots(found),
    ]


def _at_most(what: str, value: float, limit: float, unit: str, note: str = "") -> Row:
    return Row(what, f"{value:.1f} {unit}{note}", f"≤ {limit:g} {unit}", value <= limit)


def _ratio(what: str, value: float, *, most: float = 0, least: float = 0, note: str = "", held: float = 0) -> Row:
    """`held` stands for the budget where that is missed today: what was reached must not be lost."""
    if most:
        return Row(what, f"{value:.2f} ×{note}", f"≤ {most:g} ×", value <= most, value > (held or most) * SLACK)
    return Row(what, f"{value:.1f} ×{note}", f"≥ {least:g} ×", value >= least, value < (held or least) / SLACK)


def _never(what: str, value: float, unit: str = "") -> Row:
    return Row(what, f"{value:.0f}{unit}", "0", value == 0, value != 0)


def _answers(found: Findings, counts: Counts) -> Iterator[Row]:
    for verb in VERBS:
        few, many = found.samples.get(FEW + verb), found.samples.get(MANY + verb)
        if not few or not many:
            continue
        spoken = SPOKEN.get(verb, verb)
        at = f"at {counts.many}"
        size = f" (n={len(many)})"
        yield _at_most(f"{spoken}, to the answer, {at}: p50", p50(many), 2.5, "ms", size)
        yield _at_most(f"{spoken}, to the answer, {at}: p99", p99(many), 10, "ms", size)
        each = f" ({p50(few):.1f} ms, n={len(few)})"
        row = _ratio(f"{spoken}: p50 {at} / at {counts.few}", p50(many) / p50(few), most=1.5, note=each)
        yield row if len(many) >= ENOUGH else replace(row, fails=False)
    for place, count in ((FEW, counts.few), (MANY, counts.many)):
        if floor := found.samples.get(place + "fsync"):
            text = f"{p50(floor):.1f} ms, p99 {p99(floor):.1f} ms"
            yield Row(f"the disk's floor at {count}: one durable file of 2 KiB", text, "", None)


def _bursts(found: Findings) -> Iterator[Row]:
    if f"{MANY}per-second" not in found.facts or "lost" not in found.facts:
        return
    facts = found.facts
    for place, spoken in ((FEW, "first"), (MANY, "last")):
        rate = facts[f"{place}per-second"]
        size = len(found.samples[f"{place}answer"])
        answer = (
            f" (p50 {p50(found.samples[f'{place}answer']):.0f} ms, settled after {facts[f'{place}settled']:.1f} s)"
        )
        what = f"8 connections install at once, the {spoken} {size}"
        yield Row(what, f"{rate:.0f}/s{answer}", "≥ 300/s", rate >= 300)
    yield _never("of those, lost", facts["lost"])
    yield _never("of those, ports given twice", facts["ports-twice"])
    yield Row("of those, told to ask again (503)", f"{facts['refused']:.0f}", "", None)


def _compared(found: Findings, counts: Counts) -> Iterator[Row]:
    if creates := found.samples.get("create"):
        ours = found.samples["create.install"]
        pair = f" ({p50(creates):.1f} ms / {p50(ours):.1f} ms, n={len(ours)})"
        what = f"podman create over REST / install, at {counts.many}"
        yield _ratio(what, p50(creates) / p50(ours), least=5, note=pair, held=0.8)
    reloads, installs = found.samples.get("quadlet"), found.samples.get(f"{MANY}install")
    if reloads and installs:
        pair = f" ({p50(reloads):.0f} ms / {p50(installs):.1f} ms, n={len(reloads)})"
        what = f"a Quadlet file + daemon-reload / install, at {counts.many}, none running"
        least = 100 if counts.many >= 1_000 else 20
        yield _ratio(what, p50(reloads) / p50(installs), least=least, note=pair)


def _starts(found: Findings, counts: Counts) -> Iterator[Row]:
    for end, spoken in (("program", "the program runs"), ("page", "its first page")):
        if ours := found.samples.get(f"gear-{end}"):
            bare = found.samples[f"bare-{end}"]
            pair = f" ({p50(ours):.0f} ms / {p50(bare):.0f} ms, {len(ours)} pairs)"
            what = f"start → {spoken}, at {counts.many} / bare podman run -d"
            yield _ratio(what, p50(ours) / p50(bare), most=1.2, note=pair)


def _programs(found: Findings) -> Iterator[Row]:
    if "help" not in found.samples:
        return
    floor = p50(found.samples["python"])
    for name, spoken, limit in (
        ("help", "gear --help", 120),
        ("status-remote", "gear status localhost/x", 150),
        ("status-local", "gear status x (in-process)", 0),
    ):
        values = found.samples[name]
        note = f" = {p50(values) / floor:.1f} × python3 -c pass (n={len(values)})"
        if limit:
            yield _at_most(f"{spoken}, whole process: p50", p50(values), limit, "ms", note)
        else:
            yield Row(f"{spoken}, whole process: p50", f"{p50(values):.1f} ms{note}", "", None)
    for name, spoken in (("help", "gear --help"), ("status-remote", "gear status localhost/x")):
        modules = found.facts[f"modules-{name}"]
        yield _never(f"modules of host code in {spoken}", found.facts[f"host-code-{name}"], f" of {modules:.0f}")


def _memory(found: Findings, counts: Counts) -> Iterator[Row]:
    facts = found.facts
    if "many.rss" not in facts:
        return
    idle, many = facts["idle.rss"], facts["many.rss"]
    yield _at_most("agent, idle: RSS", idle, 60, "MB", f" (PSS {facts['idle.pss']:.1f} MB)")
    what = f"agent at {counts.many}, after all of the above: RSS"
    yield _at_most(what, many, 120, "MB", f" (PSS {facts['many.pss']:.1f} MB)")
    yield _ratio(f"agent at {counts.many} / idle", many / idle, most=2)


def _looks(found: Findings) -> Iterator[Row]:
    if values := found.samples.get("list"):
        size = f" (first {values[0]:.1f} ms, p99 {p99(values):.1f} ms)"
        yield _at_most(f"list of {found.facts['listed']:.0f} gears: p50", p50(values), 40, "ms", size)
    if values := found.samples.get("first"):
        yield _at_most("log: first line, p50", p50(values), 50, "ms", f" (p99 {p99(values):.1f} ms)")
    if values := found.samples.get("follow"):
        yield _at_most("log: new line to a follower, p50", p50(values), 20, "ms", f" (p99 {p99(values):.1f} ms)")


def _boots(found: Findings) -> Iterator[Row]:
    if "bare.seconds" not in found.facts:
        return
    facts = found.facts
    count, ours, theirs = facts["boot.asked"], facts["boot.since-boot"], facts["bare.seconds"]
    yield Row(f"shutdown with {count:.0f} running gears", f"{facts['shutdown.seconds']:.1f} s", "", None)
    yield _never(f"reboot with {count:.0f} running gears: that do not come back", count - facts["boot.running"])
    pair = f" ({ours:.1f} s, {facts['boot.since-gear-boot']:.1f} s of it since gear boot / {theirs:.1f} s)"
    what = "reboot: all answer, from systemd's start / podman start by a pool of the same"
    yield _ratio(what, ours / theirs, most=1.3, note=pair)
