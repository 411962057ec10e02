"""One gear in full: what systemd says, what is installed, what runs, what an admin should know about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geard.containers import asleep, bounding, lifecycle, listing, protections, versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders, unit_name
from geard.containers.host_files import trouble
from geard.containers.host_users import show_host_user
from geard.containers.limits import shown
from geard.containers.requests import ContainerStatus, Fact
from geard.containers.sizes import show_size
from geard.containers.units import gear_of, mounts, run_spec
from geard.dispatch.work import Work
from geard.facet import AnyFacet
from geard.failures import Invalid
from geard.host import Host
from geard.host.disk_quotas import DiskUse
from geard.host.journal import Span
from geard.host.journal_reader import Entry
from geard.host.storage import read_text
from geard.images.pulling import awaited
from geard.logs.lines import render_line, render_time
from geard.logs.wanted import Beginning
from geard.words import part_of

LINES = 10_000
ROOT = Path("/")


async def look(work: Work, id: str, lines: int) -> ContainerStatus:
    """Raises NotFound, Invalid."""
    if not 0 <= lines <= LINES:
        raise Invalid(f"{lines} lines of a log", hint=f"0 to {LINES}; gear log shows all")
    host = work.host
    folders = Folders.of(host.paths, id)
    definition = await work.on_disk(versions.require, folders)
    state = await host.systemd.properties(unit_name(id))
    log = await _last_lines(work, unit_name(id), lines, definition.created)
    waits = (
        "" if definition.complete else await awaited(host, host.engine_named(definition.engine), definition.image)
    )
    troubles = await work.on_disk(trouble, definition)
    facts = await work.on_disk(_facts, work, definition, folders)
    ready = folders.ready.exists()
    running = versions.running(folders) if state["ActiveState"] == "active" and not ready else ""
    wanted = folders.wanted.is_symlink()
    idle = await work.on_disk(asleep.read, folders)
    active, sub = state["ActiveState"], state["SubState"]
    since = max(_when(state.get("StateChangeTimestamp", 0)), _begun(folders))
    if idle is not None:
        active, sub = listing.as_idle(folders, active, sub)
        since = idle.since
        how = "frozen" if sub == "frozen" else "stopped"
        how += f" since {idle.since}" + (", its container kept ready" if ready else "")
        facts = (Fact(label="Idle", text=f"{how}; a connection wakes it"), *facts)
    return ContainerStatus(
        id=id,
        unit=unit_name(id),
        load_state=state["LoadState"],
        active_state=active,
        sub_state=sub,
        since=since,
        result=str(state.get("Result", "")),
        exit_status=_exit_status(state, folders),
        restarts=int(state.get("NRestarts", 0)),
        pid=0 if ready else int(state.get("MainPID", 0)),
        started=wanted,
        image=definition.image,
        image_id=definition.image_id,
        digest=definition.digest,
        engine=definition.engine,
        installed_version=definition.version,
        running_version=running,
        facts=facts,
        idle=idle is not None,
        advice=tuple(advice(state, definition, folders, running, waits, troubles)),
        log=log,
        loaded=f"{state['LoadState']} ({folders.unit}; {'enabled' if folders.known.is_symlink() else 'disabled'})",
    )


async def _last_lines(work: Work, unit: str, count: int, created: str) -> tuple[str, ...]:
    """Of this gear: the journal knows those of an earlier one of that name by the same unit."""
    if count <= 0:
        return ()
    born = Beginning(int(datetime.fromisoformat(created).timestamp() * 1e6) if created else 0)
    async with aclosing(work.host.journal.entries(unit, Span(lines=count))) as entries:
        found = [entry async for entry in entries if isinstance(entry, Entry) and born.is_past(entry.time)]
    shown = [entry for entry in found if not entry.only_names(unit)]
    return tuple(render_line(render_time(e.time), e.identifier, e.pid, e.message) for e in shown)


def _facts(work: Work, definition: Definition, folders: Folders) -> tuple[Fact, ...]:
    gear = gear_of(folders)
    found: list[tuple[str, str]] = []
    for facet in work.facets:
        found += facet.show(work.host, gear, part_of(facet.part, definition.parts))
    found.append(("Address", f"{definition.ipv4} {definition.ipv6}".strip() + f", {definition.mac}"))
    found += work.host.engine_named(definition.engine).facts(run_spec(definition, folders, work.facets))
    pid = 0 if folders.ready.exists() else bounding.process_of(folders)[0]
    found.append(("Protections", (pid and protections.in_force(ROOT, pid)) or protections.NONE))
    found.append(("Limits", _limits(definition)))
    found += _in_force(work.host, definition, folders)
    for mount in mounts(definition, folders):
        how = "kept volume" if mount.managed else "host files"
        found.append(
            ("Volume", f"{mount.target} <- {mount.source} ({how}{', read only' if mount.read_only else ''})")
        )
    for name, value in sorted(definition.labels.items()):
        found.append(("Label", f"{name}={value}"))
    if folders.drop_ins.is_dir():
        found.append(("Drop-ins", str(folders.drop_ins)))
    return tuple(Fact(label=label, text=text) for label, text in found)


def _disk(use: DiskUse) -> str:
    size = show_size(use.used) + (f" of {show_size(use.limit)}" if use.limit else "")
    return size + (f", {use.files} of {use.files_limit} files" if use.files_limit else "")


def _in_force(host: Host, definition: Definition, folders: Folders) -> Iterator[tuple[str, str]]:
    """What one that runs uses; and the limits that hold it, where these are not what is installed."""
    disk = bounding.disk_use(host, folders, definition.slot)
    if disk is not None:
        yield "Disk", _disk(disk)
    layer = bounding.layer_use(host, folders)
    if layer is not None and layer.limit:
        yield "Layer", f"{_disk(layer)}, what it wrote outside of its volumes"
    use = bounding.use_of(host, folders)
    swap = host.groups.counts_swap
    different = bounding.differences(use.bounds, definition.limits, swap=swap) if use is not None else []
    different += bounding.disk_difference(disk, definition.limits)
    if different:
        yield "In force", "; ".join(different)
    if use is None:
        return
    memory = show_size(use.memory) + (f" of {show_size(use.bounds.memory)}" if use.bounds.memory else "")
    yield "Use", f"memory {memory}, pids {use.pids}" + (f" of {use.bounds.pids}" if use.bounds.pids else "")


def _limits(definition: Definition) -> str:
    said_always = ("memory", "cpus", "pids")
    limits = {name: text for name, text in shown(definition.limits).items() if text or name in said_always}
    words = [f"{name} {text or 'as the slice has it'}" for name, text in limits.items()]
    return ", ".join(words) + f"; slice {definition.slice}"


def advice(
    state: dict[str, Any],
    definition: Definition,
    folders: Folders,
    running: str,
    waits: str,
    troubles: Sequence[str],
) -> list[str]:
    found: list[str] = []
    active, record = state["ActiveState"], lifecycle.ended(folders)
    failure = (read_text(folders.state / "failure") or "").strip()
    not_whole = failure if not definition.complete else ""
    if not_whole:
        found.append(f"it is not whole: {not_whole}")
    elif waits:
        found.append(waits)
    if folders.hook_owed.exists():
        found.append("a program of [hooks] in geard.toml has yet to end well for it; it does not run before")
    if active == "failed" or state["SubState"] == "auto-restart":
        reason = lifecycle.reason(state, folders)
        found += [f"it is down: {reason}"] if reason != not_whole else []
    if record.get("oom") == "yes":
        found.append(
            "its last run was killed for memory; raise the limit:"
            f" gear limit {definition.id} --memory SIZE ({_limits(definition)})"
        )
    found += troubles
    restarts = int(state.get("NRestarts", 0))
    if restarts >= 3 and record.get("status") == "0" and record.get("code") == "exited":
        found.append("its program ends with 0 again and again: is it a job rather than a service?")
    elif restarts >= 3:
        found.append(f"it was restarted {restarts} times since it was last told to start")
    if running and running != definition.version:
        found.append(
            f"running version {running}, installed {definition.version}:"
            f" 'gear restart {definition.id}' brings it in"
        )
    return found


def _exit_status(state: dict[str, Any], folders: Folders) -> int | None:
    if state["ActiveState"] == "active":
        return None
    status = lifecycle.ended(folders).get("status", "")
    return int(status) if status.isdigit() else None


def _begun(folders: Folders) -> str:
    """When the program of a container began that was kept ready: to systemd it was active before."""
    try:
        return _when(folders.begun.stat().st_mtime_ns // 1000)
    except FileNotFoundError:
        return ""


def _when(microseconds: int) -> str:
    if not microseconds:
        return ""
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds")


def files(host: Host, folders: Folders, facets: Sequence[AnyFacet]) -> tuple[Fact, ...]:
    """The files that make up a gear, as systemd and the engine read them."""
    paths = [folders.unit, *sorted(folders.drop_ins.glob("*.conf")), folders.run]
    for facet in facets:
        paths += facet.files(host, gear_of(folders))
    found = [Fact(label=str(path), text=text) for path in paths if (text := read_text(path)) is not None]
    definition = versions.current(folders)
    if definition is not None:
        found.append(Fact(label="values in force, and where they come from", text=_values(definition)))
    return tuple(found)


def _values(definition: Definition) -> str:
    limits = shown(definition.limits)
    if not limits["memory-swap"]:
        limits["memory-swap"] = "twice the memory" if limits["memory"] else "0"
    values = {
        "engine": definition.engine,
        "slice": definition.slice,
        "restart": definition.restart,
        "host-user": show_host_user(definition.host_user) or "none",
        "stop-timeout": f"{definition.stop_timeout} s",
        **{name: text or "0" for name, text in limits.items()},
    }
    return "".join(
        f"{name:<12} {value:<16} {definition.origins.get(name, '')}\n" for name, value in values.items()
    )
