"""A gear that runs, and the kernel: what it uses, which limits hold it, and others set without a restart.

Set in the kernel's own files: podman's `update` cannot take a limit away, and an engine's record is of the start
alone. `hold` ends in the same place however often it is done.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from geard.containers import installing, versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.limits import check_machine
from geard.containers.requests import Limits
from geard.containers.sizes import show_size
from geard.facet import AnyFacet
from geard.failures import PreconditionFailed, Unavailable
from geard.host import Host
from geard.host.control_groups import Bounds, Group, Use
from geard.host.disk_quotas import DiskUse, mounts, upper_folder
from geard.host.engine import Engine
from geard.host.storage import locked, read_text

PAGE, KIB = 4_096, 1_024
PROJECTS = 0x67650000
"""from here on a number for each slot: ours among those that an admin may have given"""
_CONTRADICTS = (errno.EBUSY, errno.EINVAL)


def check_host(host: Host, engine: Engine, limits: Limits) -> None:
    """Raises Invalid for limits to which this machine's kernel holds nobody, or that the engine does not take."""
    groups = host.groups
    write = (
        "control groups of version 1 do not see what goes through the page cache" if groups.version == 1 else ""
    )
    if not engine.bounds_io:
        no_io = f"on {engine.name} it was seen to be passed over"
    elif not groups.bounds_io:
        no_io = "its kernel has no control group for that"
    elif not groups.disk_of(host.paths.base):
        no_io = f"{host.paths.base} is on no disk that it could tell by"
    else:
        no_io = ""
    data = host.paths.base / "data"  # an admin may have given it a disk of its own
    if limits.quota and not host.disk_quotas.kind(data if data.is_dir() else host.paths.base):
        raise PreconditionFailed(
            f"--quota holds nobody on this machine: the file system of {host.paths.base} counts no quotas",
            hint="gear doctor says how to turn them on; or leave out --quota",
        )
    check_machine(limits, swap=groups.counts_swap, no_read=no_io, no_write=write or no_io)


def bounds(limits: Limits, disk: str = "") -> Bounds:
    """What the kernel is to hold a gear to. Swap of which nothing is said is as much as memory: so do engines."""
    memory, together = limits.memory or 0, limits.memory_swap
    if memory and together is None:
        together = 2 * memory
    io = (limits.io_read or 0, limits.io_write or 0, disk)
    return Bounds(memory, together or 0, limits.cpus or 0, limits.pids or 0, *io)


def process_of(folders: Folders) -> tuple[int, str]:
    """The first process of the run that was started last, and the engine's id of its container."""
    pid, container = (read_text(folders.state / name) or "" for name in ("pid", "cid"))
    return int(pid) if pid.strip().isdigit() else 0, container.strip()


def group_of(host: Host, folders: Folders) -> Group | None:
    """None where it does not run."""
    pid, container = process_of(folders)
    return host.groups.of_container(pid, container) if pid else None


def use_of(host: Host, folders: Folders) -> Use | None:
    group = group_of(host, folders)
    try:
        return group.use() if group is not None else None
    except OSError:  # it has just ended
        return None


def check_use(host: Host, folders: Folders, said: Limits, wanted: Limits) -> None:
    """Raises PreconditionFailed where the gear holds more just now than it is to have: version 2 would kill it."""
    use = use_of(host, folders)
    if use is None:
        return
    touches_memory = said.memory is not None or said.memory_swap is not None
    limit = bounds(wanted)
    rows = (
        ("memory", touches_memory and limit.memory, use.held, show_size),
        ("memory and swap", touches_memory and limit.memory_swap, use.held + use.swap, show_size),
        ("pids", said.pids is not None and limit.pids, use.pids, str),
    )
    for name, most, now, show in rows:
        if most and now > most:
            raise PreconditionFailed(
                f"{folders.id} has {show(now)} of {name} now, more than {show(int(most))}: nothing is changed",
                hint=f"give it more; gear update {folders.id} takes the same options, and restarts it with them",
            )


def project_of(slot: int) -> int:
    """The number that files of a gear's volumes carry where the file system counts by that."""
    return PROJECTS + slot


def disk_use(host: Host, folders: Folders, slot: int) -> DiskUse | None:
    return host.disk_quotas.use(folders.data, project_of(slot)) if folders.data.is_dir() else None


def check_disk(host: Host, folders: Folders, slot: int, quota: int) -> None:
    """Raises PreconditionFailed where its volumes cannot be bounded, or hold more than that."""
    if not quota or not folders.data.is_dir():
        return
    if not host.disk_quotas.boundable(folders.data):
        raise PreconditionFailed(
            f"the volumes of {folders.id} are in an ordinary folder of btrfs, which counts subvolumes alone",
            hint=f"stop it, move {folders.data} away, start it, and copy what was in the volumes back",
        )
    use = disk_use(host, folders, slot)
    if use is not None and use.used > quota:
        raise PreconditionFailed(
            f"{folders.id} has {show_size(use.used)} on disk, more than {show_size(quota)}: nothing is changed",
            hint="give it more, or remove some of it",
        )


def layer_use(host: Host, folders: Folders) -> DiskUse | None:
    """What it has written outside of its volumes; None where it does not run, or no engine has bounded it."""
    layer = _layer(folders)
    return host.disk_quotas.layer_use(layer) if layer is not None else None


def _layer(folders: Folders) -> Path | None:
    """The engine's folder for the container that runs: above that of the layer itself, by the kernel's word."""
    pid, _ = process_of(folders)
    upper = upper_folder(mounts(Path("/"), pid)) if pid else ""
    return Path(upper).parent if upper else None


def hold_disk(host: Host, folders: Folders, definition: Definition) -> None:
    """Have its volumes, and its layer if it runs with a bounded one, hold no more than is installed. Raises
    Unavailable.
    """
    quota = definition.limits.quota
    if quota is None:
        return
    try:
        if folders.data.is_dir():
            host.disk_quotas.bound(folders.data, project_of(definition.slot), quota)
        layer = _layer(folders)
        if layer is not None:
            with suppress(FileNotFoundError):  # it has just ended
                host.disk_quotas.bound_layer(layer, quota)
    except OSError as error:
        raise Unavailable(
            f"the disk of {folders.id} cannot be held to {show_size(quota)}: {error.strerror}",
            hint="gear doctor says what this machine's disk can do",
        ) from None


def hold(host: Host, id: str, facets: Sequence[AnyFacet]) -> bool:
    """Have a gear that runs held to the limits that are installed; False where it does not run.

    Where it then is just what is installed, that version is the one that runs. Raises Unavailable.
    """
    folders = Folders.of(host.paths, id)
    with locked(folders.versions):
        now, version = versions.current(folders), versions.running(folders)
        group = group_of(host, folders)
        if now is None or group is None:
            return False
        try:
            group.bound(bounds(now.limits, host.groups.disk_of(host.paths.base)))
        except FileNotFoundError:
            return False
        except OSError as error:
            why = "it uses more than that" if error.errno in _CONTRADICTS else error.strerror
            raise Unavailable(
                f"the kernel does not hold {id} to its limits: {why}",
                hint=f"they are installed: gear restart {id} brings them in; gear rollback {id} takes them back",
            ) from None
        running = next((d for d in versions.recorded(folders) if d.version == version), None)
        if running is not None:
            alike = msgspec.structs.replace(running, limits=now.limits, origins=now.origins)
            installing.note_running(folders, alike, now)
    return True


def differences(in_force: Bounds, limits: Limits, *, swap: bool) -> list[str]:
    """Where the kernel holds a gear to something else than is installed: `memory 512M, not 1G`."""
    wanted = bounds(limits)

    def size(bytes: float) -> str:
        return show_size(int(bytes))

    rows = [
        ("memory", in_force.memory, wanted.memory, size, PAGE),
        ("memory and swap", in_force.memory_swap, wanted.memory_swap, size, PAGE),
        ("cpus", in_force.cpus, wanted.cpus, "{:g}".format, 0.001),
        ("pids", in_force.pids, wanted.pids, "{:g}".format, 1),
        ("io-read", in_force.io_read, wanted.io_read, size, 1),
        ("io-write", in_force.io_write, wanted.io_write, size, 1),
    ]
    return [
        f"{name} {show(now) if now else 'without limit'}, not {show(then) if then else 'without limit'}"
        for name, now, then, show, step in rows
        if abs(now - then) >= step and (swap or name != "memory and swap")
    ]


def disk_difference(in_force: DiskUse | None, limits: Limits) -> list[str]:
    """The same of its volumes: what an update says of them comes with the next start."""
    if in_force is None or limits.quota is None or abs(in_force.limit - limits.quota) < KIB:
        return []
    now, then = (show_size(size) if size else "without limit" for size in (in_force.limit, limits.quota))
    return [f"quota {now}, not {then}"]
