"""The slices gears run in: how much one gear of a slice gets by default, and what all of them share at most.

`gear setup` writes the units once; an admin's changes are kept. `container-small` and `container-large` are
inside `container` by systemd's naming (systemd.slice(5)).
"""

from __future__ import annotations

from dataclasses import dataclass

from geard.failures import Invalid

MEBIBYTE = 1_048_576
DEFAULT = "container-small"
PIDS = 1_024


@dataclass(frozen=True)
class Slice:
    name: str
    about: str
    memory: int
    """of one gear, in bytes, where nothing else is asked"""
    share: int
    """of the machine's memory, for all gears in the slice together, in percent"""
    tasks: int
    """of the processes that the machine can have, the same"""


SLICES = {
    slice.name: slice
    for slice in (
        Slice("container", "Gears", 1_024 * MEBIBYTE, 90, 80),
        Slice("container-small", "Small gears", 512 * MEBIBYTE, 75, 60),
        Slice("container-large", "Large gears", 4_096 * MEBIBYTE, 85, 60),
    )
}

JOBS = Slice("container-job", "Jobs", 512 * MEBIBYTE, 60, 40)
"""no gear's: what runs once must not push out what is to stay"""


def check_slice(name: str) -> str:
    """Raises Invalid. An empty name is the default's."""
    name = name.removesuffix(".slice") or DEFAULT
    if name not in SLICES:
        raise Invalid(f"there is no slice {name!r} for gears", hint=f"one of {', '.join(SLICES)}")
    return name


def render_slice(slice: Slice) -> str:
    return f"""\
# Written once by 'gear setup'; yours to change, and never written again: then systemctl daemon-reload.
# What all gears in it may use together. Shares are of the machine; man systemd.resource-control has more settings.
[Unit]
Description={slice.about} (geard)
Before=slices.target

[Slice]
MemoryAccounting=yes
CPUAccounting=yes
IOAccounting=yes
TasksAccounting=yes
MemoryMax={slice.share}%
TasksMax={slice.tasks}%
"""
