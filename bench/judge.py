"""From findings to rows: what was measured, what is asked of it, whether it is so. Pure.

The budgets are the project's own. `fails` says which rows make `--short` fail: ratios, with the slack given here,
and what must never be. Absolute times are told and judged, but fail nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from bench.findings import Findings, p50, p99

SLACK = 1.6
# A ratio of two medians of fewer samples of some milliseconds each fails nothing: one neighbour decides it.
ENOUGH = 20
HELD_CREATE = 2.0

VERBS = ("install", "install-plain", "start", "stop", "set-env", "link", "delete")
SPOKEN = {"install": "install, one port", "install-plain": "install, no port"}
AT_ONCE = (1, 8, 32)
"""so many connections install at once"""
PLANNED = 1_000
PLANS = ((100, 10), (1_000, 50), (4_000, 50))
"""instances and hosts; the budget is of PLANNED"""


def at(count: int) -> str:
    """Where findings stand that were made with so many gears installed."""
    return f"{count}."


def plan_of(instances: int) -> str:
    return f"plan-{instances}."


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
    """How many gears are installed when it is measured, ascending, and for which of those the budgets hold."""

    all: tuple[int, ...]
    most: int

    @property
    def few(self) -> int:
        return self.all[0]


def judge(found: Findings, counts: Counts) -> list[Row]:
    return [
        *_answers(found, counts),
        *_bursts(found),
        *_compared(found, counts),
        *_starts(found, counts),
        *_jobs(found),
        *_builds(found),
        *_programs(found),
        *_memory(found, counts),
        *_looks(found, counts),
        *_plans(found),
        *_relinks(found),
        *_through(found),
        *_wakes(found),
        *_awake(found),
        *_sleepers(found),
        *_boots(found),
        *_deploys(found),
        *_images(found),
    ]


def _at_most(what: str, value: float, limit: float, unit: str, note: str = "") -> Row:
    return Row(what, f"{value:.1f} {unit}{note}", f"≤ {limit:g} {unit}", value <= limit)


def _ratio(what: str, value: float, *, most: float = 0, least: float = 0, note: str = "", held: float = 0) -> Row:
    """`held` stands for the budget where that is missed today: what was reached must not be lost."""
    if most:
        return Row(what, f"{value:.2f} ×{note}", f"≤ {most:g} ×", value <= most, value > (held or most) * SLACK)
    text = f"{value:.1f}" if least > 1 else f"{value:.2f}"
    return Row(what, f"{text} ×{note}", f"≥ {least:g} ×", value >= least, value < (held or least) / SLACK)


def _never(what: str, value: float, unit: str = "") -> Row:
    return Row(what, f"{value:.0f}{unit}", "0", value == 0, value != 0)


def _answers(found: Findings, counts: Counts) -> Iterator[Row]:
    for verb in VERBS:
        few, many = found.samples.get(at(counts.few) + verb), found.samples.get(at(counts.most) + verb)
        if not few or not many:
            continue
        spoken = SPOKEN.get(verb, verb)
        where = f"at {counts.most}"
        size = f" (n={len(many)})"
        yield _at_most(f"{spoken}, to the answer, {where}: p50", p50(many), 2.5, "ms", size)
        yield _at_most(f"{spoken}, to the answer, {where}: p99", p99(many), 10, "ms", size)
        each = f" ({p50(few):.1f} ms, n={len(few)})"
        row = _ratio(f"{spoken}: p50 {where} / at {counts.few}", p50(many) / p50(few), most=1.5, note=each)
        yield row if len(many) >= ENOUGH else replace(row, fails=False)
    for count in (counts.few, counts.most):
        if floor := found.samples.get(at(count) + "fsync"):
            text = f"{p50(floor):.1f} ms, p99 {p99(floor):.1f} ms"
            yield Row(f"the disk's floor at {count}: one durable file of 2 KiB", text, "", None)
    floor, ours = (found.samples.get(at(counts.most) + name) for name in ("fsync", "install"))
    if floor and ours:
        pair = f"{p50(ours) / p50(floor):.1f} × ({p50(ours):.1f} ms / {p50(floor):.1f} ms)"
        yield Row(f"install, one port / the disk's floor, at {counts.most}", pair, "", None)


def _bursts(found: Findings) -> Iterator[Row]:
    facts = found.facts
    if "lost" not in facts:
        return
    for connections in AT_ONCE:
        place = f"at-once-{connections}."
        answers, rate = found.samples[f"{place}answer"], facts[f"{place}per-second"]
        took = f"p50 {p50(answers):.0f} ms, p99 {p99(answers):.0f} ms"
        note = f" (n={len(answers)}, {took}, settled after {facts[f'{place}settled']:.1f} s)"
        budget, well = ("≥ 300/s", rate >= 300) if connections == 8 else ("", None)
        spoken = "1 connection installs" if connections == 1 else f"{connections} connections install at once"
        yield Row(spoken, f"{rate:.0f}/s{note}", budget, well)
    yield _never("of all installed, lost", facts["lost"])
    yield _never("of those, ports given twice", facts["ports-twice"])
    yield Row("of those, told to ask again (503)", f"{facts['refused']:.0f}", "", None)


def _compared(found: Findings, counts: Counts) -> Iterator[Row]:
    most = at(counts.most)
    ours = found.samples.get(f"{most}create-install") or found.samples.get(f"{most}install")
    if not ours:
        return
    if creates := found.samples.get(f"{most}create"):
        pair = f" ({p50(creates):.1f} ms / {p50(ours):.1f} ms, n={len(ours)})"
        what = f"podman create over REST / install, at {counts.most}"
        yield _ratio(what, p50(creates) / p50(ours), least=5, note=pair, held=HELD_CREATE)
    if creates := found.samples.get(f"{most}docker-create"):
        pair = f" ({p50(creates):.1f} ms / {p50(ours):.1f} ms, n={len(creates)})"
        what = f"docker create over REST / install, at {counts.most}"
        yield Row(what, f"{p50(creates) / p50(ours):.1f} ×{pair}", "", None)
    if reloads := found.samples.get(f"{most}quadlet"):
        pair = f" ({p50(reloads):.0f} ms / {p50(ours):.1f} ms, n={len(reloads)})"
        what = f"a Quadlet file + daemon-reload / install, at {counts.most}, none running"
        least = 100 if counts.most >= 1_000 else 20
        yield _ratio(what, p50(reloads) / p50(ours), least=least, note=pair)


def _starts(found: Findings, counts: Counts) -> Iterator[Row]:
    for end, spoken in (("program", "the program runs"), ("page", "its first page")):
        if ours := found.samples.get(f"gear-{end}"):
            bare = found.samples[f"bare-{end}"]
            pair = f" ({p50(ours):.0f} ms / {p50(bare):.0f} ms, {len(ours)} pairs)"
            what = f"start → {spoken}, at {counts.most} / bare podman run -d"
            yield _ratio(what, p50(ours) / p50(bare), most=1.2, note=pair)
    if runs := found.samples.get("docker-program"):
        ours = found.samples.get("gear-program")
        ratio = f"{p50(runs) / p50(ours):.1f} × ({p50(runs):.0f} ms / {p50(ours):.0f} ms)" if ours else ""
        yield Row("docker run -d → the program runs / start", ratio or f"{p50(runs):.0f} ms", "", None)


def _jobs(found: Findings) -> Iterator[Row]:
    if not (ours := found.samples.get("job")):
        return
    bare, whole = found.samples["bare-run"], found.samples["gear-run"]
    pair = f" ({p50(ours):.0f} ms / {p50(bare):.0f} ms, {len(ours)} pairs)"
    row = _ratio("a job, to its result / bare podman run", p50(ours) / p50(bare), most=1.15, note=pair)
    yield row if len(ours) >= ENOUGH else replace(row, fails=False)
    yield Row("gear run, whole process / bare podman run", f"{p50(whole) / p50(bare):.2f} ×", "", None)


def _builds(found: Findings) -> Iterator[Row]:
    if not (ours := found.samples.get("build")):
        return
    steps = found.samples["build-steps"]
    pair = f" ({p50(ours):.0f} ms / {p50(steps):.0f} ms, {len(ours)} pairs)"
    yield Row("a build, to its end / its steps by podman", f"{p50(ours) / p50(steps):.2f} ×{pair}", "", None)


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
    if "idle.rss" not in facts:
        return
    idle, many = facts["idle.rss"], facts[f"{at(counts.most)}rss"]
    yield _at_most("agent, idle: RSS", idle, 60, "MB", f" (PSS {facts['idle.pss']:.1f} MB)")
    what = f"agent at {counts.most}, after all of that: RSS"
    yield _at_most(what, many, 120, "MB", f" (PSS {facts[f'{at(counts.most)}pss']:.1f} MB)")
    yield _ratio(f"agent at {counts.most} / idle", many / idle, most=2)
    if "idle.ticks" in facts:
        taken = f"{10 * facts['idle.ticks']:.0f} ms of a core, {facts['idle.wakes']:.0f} wake-ups"
        yield Row(f"agent at {counts.most}, asked nothing for {facts['idle.seconds']:.0f} s", taken, "", None)


def _looks(found: Findings, counts: Counts) -> Iterator[Row]:
    if values := found.samples.get(f"{at(counts.most)}list"):
        size = f" (first {values[0]:.1f} ms, p99 {p99(values):.1f} ms)"
        listed = found.facts[f"{at(counts.most)}listed"]
        yield _at_most(f"list of {listed:.0f} gears: p50", p50(values), 40, "ms", size)
    for connections in AT_ONCE:
        for name, spoken in (("status", "status of one gear"), ("listing", "list of all")):
            if values := found.samples.get(f"load-{connections}.{name}"):
                rate = found.facts[f"load-{connections}.{name}-per-second"]
                note = f" (n={len(values)}, p50 {p50(values):.1f} ms, p99 {p99(values):.1f} ms)"
                plural = "s" if connections > 1 else ""
                yield Row(
                    f"{connections} connection{plural} ask for the {spoken}", f"{rate:.0f}/s{note}", "", None
                )
    if values := found.samples.get("first"):
        yield _at_most("log: first line, p50", p50(values), 50, "ms", f" (p99 {p99(values):.1f} ms)")
    if values := found.samples.get("follow"):
        yield _at_most("log: new line to a follower, p50", p50(values), 20, "ms", f" (p99 {p99(values):.1f} ms)")
    if values := found.samples.get("crowd"):
        what = f"log: new line to the last of {found.facts['crowd']:.0f} followers, p50"
        more = found.facts["crowd.threads"]
        yield Row(what, f"{p50(values):.1f} ms (p99 {p99(values):.1f} ms; {more:+.0f} threads)", "", None)


def _plans(found: Findings) -> Iterator[Row]:
    measured = [size for size in PLANS if f"{plan_of(size[0])}new" in found.samples]
    for instances, hosts in measured:
        for name, spoken in (("new", "nothing there"), ("again", "all there"), ("moved", "a host left out")):
            values = found.samples[f"{plan_of(instances)}{name}"]
            links = found.facts[f"{plan_of(instances)}links"]
            what = f"plan of {instances} gears with {links:.0f} links over {hosts} hosts, {spoken}: p50"
            if instances == PLANNED:
                yield _at_most(what, p50(values), 1_000, "ms", f" (n={len(values)})")
            else:
                yield Row(what, f"{p50(values):.1f} ms (n={len(values)})", "", None)
    for (fewer, _), (more, _) in pairwise(measured):
        if fewer == PLANNED:
            worked = [p50(found.samples[f"{plan_of(count)}again-worked"]) for count in (more, fewer)]
            note = f" ({worked[0]:.0f} ms / {worked[1]:.0f} ms)"
            what = f"plan of {more} gears / of {fewer}, all there: time of the processor"
            yield _ratio(what, worked[0] / worked[1], most=2 * more / fewer, note=note)


def _relinks(found: Findings) -> Iterator[Row]:
    facts = found.facts
    if values := found.samples.get("relink.led"):
        note = (
            f" (n={len(values)}, p99 {p99(values):.1f} ms, answered {p50(found.samples['relink.answer']):.1f} ms)"
        )
        yield _at_most("live relink → a connection led to the new far end: p50", p50(values), 10, "ms", note)
        yield _never(
            f"of {facts['relink.kept']:.0f} established connections, lost meanwhile", facts["relink.lost"]
        )
        met = f"of {facts['relink.met']:.0f} new ones meanwhile"
        yield _never(f"{met}, refused", facts["relink.refused"])
        yield _never(f"{met}, led to the old far end after one was to the new", facts["relink.went-back"])


def _through(found: Findings) -> Iterator[Row]:
    for name, spoken, unit in (
        ("push", "throughput", ""),
        ("ping", "an answer of 64 bytes", "ms"),
        ("meet", "a new connection and its first bytes", "ms"),
    ):
        if linked := found.samples.get(f"through.linked-{name}"):
            direct = found.samples[f"through.direct-{name}"]
            if unit:
                each = f"{p50(direct):.3f} ms / {p50(linked):.3f} ms"
            else:
                size = found.facts["through.megabytes"] * 1_000
                each = f"{size / p50(linked):.0f} MB/s / {size / p50(direct):.0f} MB/s"
            # each beside its neighbour in time: what else the machine does comes and goes
            ratio = p50([there / here for here, there in zip(linked, direct, strict=True)])
            what = f"through a link / direct: {spoken}"
            yield _ratio(what, ratio, least=0.95, note=f" ({each}, {len(linked)} pairs)")


def _wakes(found: Findings) -> Iterator[Row]:
    for depth, limit in (("freeze", 10), ("stop", 150)):
        if values := found.samples.get(f"wake-{depth}"):
            note = f" (n={len(values)}, p99 {p99(values):.0f} ms)"
            yield _at_most(f"first byte of a gear that sleeps by {depth}: p50", p50(values), limit, "ms", note)
    for name, spoken in (
        ("run-page", "podman run -d"),
        ("start-page", "podman start"),
        ("proxied", "a socket of systemd's, podman run and systemd-socket-proxyd"),
    ):
        if values := found.samples.get(f"wake-{name}"):
            ours = found.samples["wake-stop"]
            pair = f" ({p50(ours):.0f} ms / {p50(values):.0f} ms, {len(values)} pairs)"
            yield Row(f"first byte by stop / by {spoken}", f"{p50(ours) / p50(values):.2f} ×{pair}", "", None)
    if values := found.samples.get("wake-crowd"):
        what = f"{found.facts['wake-crowd']:.0f} first connections at once: to the last first byte"
        yield Row(what, f"{max(values):.0f} ms (p50 {p50(values):.0f} ms)", "", None)
        yield _never("of those, refused, reset or not answered", found.facts["wake-crowd.failed"])


def _awake(found: Findings) -> Iterator[Row]:
    for name, spoken in (
        ("push", "throughput"),
        ("ping", "an answer of 64 bytes"),
        ("meet", "a new connection and its first bytes"),
    ):
        if woken := found.samples.get(f"awake.woken-{name}"):
            for other, beside in (("always", "one that never slept"), ("proxied", "systemd-socket-proxyd")):
                if values := found.samples.get(f"awake.{other}-{name}"):
                    ratio = p50([there / here for here, there in zip(woken, values, strict=True)])
                    row = _ratio(f"a gear once woken / {beside}: {spoken}", ratio, least=0.99)
                    yield row if other == "always" else replace(row, budget="", well=None, fails=False)


def _sleepers(found: Findings) -> Iterator[Row]:
    facts = {name.removeprefix("sleepers."): value for name, value in found.facts.items()}
    if "knocks" not in facts:
        return
    count = facts["count"]
    for who, spoken in (("agent", "the agent"), ("waker", "geard-waker"), ("wake", "geard-wake")):
        taken = f"{10 * facts[f'{who}.ticks']:.0f} ms of a core, {facts[f'{who}.wakes']:.0f} wake-ups"
        noise = f"{facts['seconds']:.0f} s of {facts['knocks']:.0f} knocks at other ports"
        what = f"{spoken}, {count:.0f} gears asleep, {noise}"
        yield Row(what, f"PSS {facts[f'{who}.pss']:.1f} MB, {taken}", "", None)
    yield _never("of those gears, woken by that", facts["false"])
    if facts["woken"]:
        what = f"{facts['woken']:.0f} of them woken at once: to the last first byte"
        yield Row(what, f"{facts['woken.seconds']:.1f} s", "", None)
        yield _never("of those, refused, reset or not answered", facts["woken.failed"])


def _deploys(found: Findings) -> Iterator[Row]:
    if not (deploys := found.samples.get("deploy.deploy")):
        return
    facts, loops = found.facts, found.samples["deploy.loop"]
    gears, hosts = facts["deploy.gears"], facts["deploy.hosts"]
    what = f"gear deploy of {gears:.0f} gears on {hosts:.0f} hosts / podman run in a shell loop on each"
    pair = f" ({p50(deploys) / 1_000:.1f} s / {p50(loops) / 1_000:.1f} s, {len(loops)} pairs)"
    yield Row(what, f"{p50(deploys) / p50(loops):.2f} ×{pair}", "", None)
    for name, spoken in (("gears", "gears"), ("containers", "containers of the loops")):
        yield _never(f"of those {spoken}, that do not answer", facts[f"deploy.{name}-silent"])
    again = found.samples["deploy.again"]
    yield Row("gear deploy of the same again, nothing to change", f"{p50(again):.0f} ms", "", None)


def _images(found: Findings) -> Iterator[Row]:
    if not (peer := found.samples.get("image.from-peer")):
        return
    for way, spoken in (("from-registry", "from a docker-registry"), ("by-podman", "from that by podman pull")):
        beside = found.samples[f"image.{way}"]
        pair = f" ({p50(peer) / 1_000:.1f} s / {p50(beside) / 1_000:.1f} s, {len(peer)} pairs)"
        what = f"gear pull of 300 MB to two hosts at once, from a third host / {spoken}"
        yield Row(what, f"{p50(peer) / p50(beside):.2f} ×{pair}", "", None)


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
