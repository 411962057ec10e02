"""From a job on record to its unit: the order for the unit's main process, and the unit itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geard.containers import selinux, slots
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.limits import check_together, merged
from geard.containers.requests import Limits
from geard.containers.sizes import parse_size
from geard.containers.units import NETWORK, gear_of, run_spec
from geard.environments import store
from geard.environments.file import check_variables, split_for_podman
from geard.environments.requests import EnvironmentPart
from geard.facet import AnyFacet
from geard.failures import Unavailable
from geard.host import Host
from geard.host.engine import Mount, Network, OnceLine, OnceSpec, RunSpec
from geard.host.paths import Paths
from geard.host.storage import Changes
from geard.jobs.records import JobFolders, JobRecord, engine_name, slice_name, unit_name
from geard.jobs.requests import JobWish
from geard.jobs.settings import JobSettings
from geard.links import live
from geard.links import store as store_of_links
from geard.secrets import file as secret_files
from geard.words import part_of

PROGRAM = "/usr/lib/geard/gear-job"
PATIENCE = 60
"""seconds that systemd waits longer than the job's own main process does, before it ends both"""


@dataclass(frozen=True)
class Plan:
    """All that a job's unit is told, beside what stands in its record."""

    spec: RunSpec
    how: OnceSpec
    variables: Mapping[str, str]
    env_lines: str
    """the variables that go by a file"""
    several: Mapping[str, str]
    """… and those that go by the engine's own environment"""


def limits_of(wish: JobWish, settings: JobSettings) -> Limits:
    """Raises Invalid where they contradict each other."""
    usual = Limits(memory=parse_size(settings.memory), cpus=settings.cpus, pids=settings.pids)
    return check_together(merged(wish.limits, usual))


def variables_of(host: Host, wish: JobWish, gear: Definition | None) -> dict[str, str]:
    """As they are now: of the gear, of the environment that is named, and those given."""
    found: dict[str, str] = {}
    if gear is not None:
        part = part_of(EnvironmentPart, gear.parts)
        found |= store.load(host.paths, part.value.id if part is not None else gear.id) or {}
    if wish.environment_id:
        found |= store.load(host.paths, wish.environment_id) or {}
    found |= wish.environment
    check_variables(found)
    return found


def secrets_of(host: Host, gear: Definition, folders: JobFolders, facets: Sequence[AnyFacet]) -> dict[str, str]:
    """Lay out the gear's secrets for the job; those that are variables. Raises Failure where one is missing."""
    inside = _as_if_run_by(folders, gear)
    orders = [
        value
        for facet in facets
        for name, value in facet.lines(gear_of(inside), part_of(facet.part, gear.parts))
        if name == "GEAR_SECRETS"
    ]
    place = inside.state / "secrets"
    shutil.rmtree(place, ignore_errors=True)
    with Changes() as changes:
        for folder in (folders.state.parent, folders.state, inside.state.parent, inside.state):
            changes.folder(folder, 0o700)
    found: dict[str, str] = {}
    for each in orders:
        found |= secret_files.lay_out(each, gear.uid or 0, str(host.paths.base / "secrets"), str(place))
    return found


def links_of(
    host: Host, gear: Definition, record: JobRecord, folders: JobFolders, taken: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """Have the job led as the gear is: the variables that tell of it, and what gear-link knows it by."""
    if not store_of_links.load(host.paths, gear.id):
        return {}, ""
    address, _, _ = slots.addresses(slots.bridge(host.paths, gear.engine), record.slot)
    place = store_of_links.place(host.paths, gear.id)
    with Changes() as changes:
        changes.folder(folders.state.parent, 0o700)
        changes.folder(folders.state, 0o700)
    try:
        found = live.lend(place, str(folders.state), address, gear.engine, host.rules.load)
    except OSError as error:
        raise Unavailable(f"the links of {gear.id} cannot be made for the job: {error}") from None
    return {name: value for name, value in found.items() if name not in taken}, engine_name(record.id)


def plan(
    host: Host,
    wish: JobWish,
    record: JobRecord,
    folders: JobFolders,
    gear: Definition | None,
    facets: Sequence[AnyFacet],
    variables: Mapping[str, str],
    links: str = "",
) -> Plan:
    engine = host.engine_named(record.engine)
    spec = _of_gear(gear, folders, facets) if gear is not None else RunSpec(name="", image=record.image)
    limits = record.limits
    ipv4, ipv6, mac = slots.addresses(slots.bridge(host.paths, engine.name), record.slot)
    own = None if record.simple or not engine.maps_users else slots.uid_base(record.slot)
    mounts = [Mount(m.path, m.host_path, read_only=m.read_only) for m in wish.volume_config.volume_mounts]
    taken = {mount.target for mount in mounts}
    if record.artifacts:
        mounts.append(Mount(str(folders.artifacts), record.artifacts, managed=True))
    spec = replace(
        spec,
        name=engine_name(record.id),
        hostname=record.id[:63].rstrip("-."),
        command=wish.command or (() if gear is None else gear.command),
        entrypoint=wish.entrypoint if wish.entrypoint is not None else spec.entrypoint,
        publish=(),
        mounts=(*(mount for mount in spec.mounts if mount.target not in taken), *mounts),
        network=Network(NETWORK, ipv4, ipv6, mac),
        uid_base=own if gear is None else spec.uid_base,
        memory=limits.memory or 0,
        memory_swap=-1 if limits.memory and limits.memory_swap == 0 else limits.memory_swap or 0,
        cpus=limits.cpus or 0,
        pids=limits.pids or 0,
        stop_seconds=record.stop_timeout,
    )
    lines, several = split_for_podman(variables)
    how = OnceSpec(
        state=str(folders.state),
        slice=slice_name(record.id, beside=engine.beside).removesuffix(".slice"),
        tty=record.tty,
        stdin=record.stdin,
        user=record.user,
        folder=wish.working_dir,
        env_file=str(folders.state / "env") if lines else "",
        env_names=tuple(several),
        links=links,
        level=_level(record, gear) if selinux.mode() else "",
    )
    return Plan(spec, how, variables, lines, several)


def _of_gear(gear: Definition, folders: JobFolders, facets: Sequence[AnyFacet]) -> RunSpec:
    """The gear's container, its secrets laid out in the job's own folder instead of the gear's."""
    return run_spec(gear, _as_if_run_by(folders, gear), facets)


def _as_if_run_by(folders: JobFolders, gear: Definition) -> Folders:
    """The gear's paths, but for what is laid out for a run: that is the job's own."""
    return Folders.of(Paths(base=folders.paths.base, run=folders.state), gear.id)


def order(
    host: Host, record: JobRecord, folders: JobFolders, plan: Plan, line: OnceLine, settings: JobSettings
) -> dict[str, Any]:
    """What the unit's main process reads (supervising.py)."""
    artifacts = {
        "Folder": str(folders.artifacts),
        "Path": record.artifacts,
        "Most": parse_size(settings.artifacts),
    }
    return {
        "Id": record.id,
        "Request": record.request,
        "By": record.by,
        "Folder": str(folders.kept),
        "Slot": str(host.paths.base / "slots" / str(record.slot)),
        "Container": plan.spec.name,
        "Engine": record.engine,
        "Image": plan.spec.image,
        "Argv": line.argv,
        "Leaves": line.leaves,
        "Kill": line.kill,
        "Remove": line.remove,
        "AskImage": line.ask_image,
        "AskOom": line.ask_oom,
        "Link": line.link,
        "Slice": f"{plan.how.slice}.slice" if host.engine_named(record.engine).beside else "",
        "Environment": dict(plan.several),
        "Stdin": record.stdin,
        "Tty": record.tty,
        "Grace": record.stop_timeout,
        "TimeLimit": record.time_limit,
        "Keep": parse_size(settings.keep_output),
        "Artifacts": artifacts if record.artifacts else None,
    }


def _level(record: JobRecord, gear: Definition | None) -> str:
    return gear.level if gear is not None else selinux.level_of(record.slot)


def confine(folders: JobFolders, level: str) -> None:
    """SELinux: what geard mounts into the job has its level. The host's own files are left as they are."""
    for folder in (folders.artifacts, *folders.state.glob("gears/*/secrets")):
        with suppress(OSError):  # a file system without labels: it shows in what the program is refused
            selinux.label(str(folder), selinux.file_context(level))


def lay_out(folders: JobFolders, order: Mapping[str, Any], env_lines: str) -> None:
    """Below /run, for root alone. The order comes last: with it the job can be started."""
    with Changes() as changes:
        changes.folder(folders.state.parent, 0o700)
        changes.folder(folders.state, 0o700)
        if env_lines:
            changes.write(folders.state / "env", env_lines, 0o600)
        changes.write(folders.state / "order", json.dumps(order), 0o600)


def properties(record: JobRecord, base: Path, slice: str) -> list[tuple[str, str, Any]]:
    """The transient unit (org.freedesktop.systemd1(5)): name, D-Bus signature, value. Pure."""
    grace = record.stop_timeout + PATIENCE
    found: list[tuple[str, str, Any]] = [
        ("Description", "s", f"Job {record.id}"),
        ("Documentation", "as", ["man:gear(1)"]),
        ("Slice", "s", slice),
        ("Wants", "as", ["geard-host.service", "network-online.target"]),
        ("After", "as", ["geard-host.service", "network-online.target"]),
        ("Before", "as", ["geard-going-down.service"]),
        ("RequiresMountsFor", "as", [str(base)]),
        ("Type", "s", "notify"),
        ("NotifyAccess", "s", "main"),
        ("Delegate", "b", True),
        ("CPUAccounting", "b", True),
        ("MemoryAccounting", "b", True),
        ("IOAccounting", "b", True),
        ("KillMode", "s", "mixed"),
        ("OOMPolicy", "s", "continue"),
        ("CollectMode", "s", "inactive-or-failed"),
        ("SyslogIdentifier", "s", unit_name(record.id).removesuffix(".service")),
        ("TimeoutStartUSec", "t", (1 << 64) - 1),
        ("TimeoutStopUSec", "t", grace * 1_000_000),
        ("ExecStart", "a(sasb)", [[PROGRAM, [PROGRAM, "run", record.id], False]]),
        ("ExecStopPost", "a(sasb)", [[PROGRAM, [PROGRAM, "end", record.id], False]]),
    ]
    if record.time_limit:
        # The main process ends it in time, and says so; this is for when that does not.
        found.append(("RuntimeMaxUSec", "t", int((record.time_limit + grace) * 1_000_000)))
    return found
