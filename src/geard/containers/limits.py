"""What one gear may use: which limits can be, how several sayings make one, how they are shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from geard.containers.requests import Limits
from geard.containers.sizes import parse_size, show_size
from geard.failures import Invalid

NAMES = {field: field.replace("_", "-") for field in Limits.__struct_fields__}
"""field -> what people call it, and the option: `--memory-swap`"""
LEAST_MEMORY = 6 << 20
LEAST_QUOTA = 64 << 10
MOST_MEMORY = 1 << 60
LEAST_IO = 64 << 10
MOST_CPUS = 4_096
MOST_PIDS = 4_194_304


def parse_limits(given: Mapping[str, Any]) -> Limits:
    """What the options of a command line say. Raises Invalid."""
    names = ("memory", "memory_swap", "io_read", "io_write", "quota")
    sizes = {name: parse_size(given[name]) if given[name] else None for name in names}
    limits = Limits(**sizes, cpus=given["cpus"], pids=given["pids"])
    check_limits(limits)  # here too: JSON has no word for a number that is none
    return limits


def check_limits(limits: Limits) -> None:
    """Raises Invalid for what no machine could mean."""
    for name, size in (("memory", limits.memory), ("memory and swap", limits.memory_swap)):
        if size is not None and size and not LEAST_MEMORY <= size <= MOST_MEMORY:
            raise Invalid(f"{size} bytes of {name}", hint="6m at least, or 0 for no limit of its own")
    for name, size in (("read", limits.io_read), ("written", limits.io_write)):
        if size is not None and size and not LEAST_IO <= size <= MOST_MEMORY:
            raise Invalid(f"{size} bytes {name} a second", hint="64k at least, or 0 for no limit")
    if limits.quota and not LEAST_QUOTA <= limits.quota <= MOST_MEMORY:
        raise Invalid(f"{limits.quota} bytes of disk", hint="64k at least, or 0 for no limit")
    if limits.cpus is not None and not (limits.cpus == 0 or 0.01 <= limits.cpus <= MOST_CPUS):
        raise Invalid(f"{limits.cpus:g} CPUs", hint="such as 0.5 or 2, 0.01 at least; 0 for no limit")
    if limits.pids is not None and not 0 <= limits.pids <= MOST_PIDS:
        raise Invalid(f"{limits.pids} processes", hint="a number such as 512; 0 for no limit")


def check_together(limits: Limits) -> Limits:
    """`limits` as decided, which may not contradict each other. Raises Invalid."""
    if not limits.memory_swap:
        return limits
    together = show_size(limits.memory_swap)
    if not limits.memory:
        raise Invalid(f"{together} of memory and swap, and no limit of memory", hint="--memory SIZE as well")
    if limits.memory_swap < limits.memory:
        raise Invalid(
            f"{together} of memory and swap together is less than the memory alone, {show_size(limits.memory)}",
            hint="--memory-swap counts both: as much as --memory for no swap at all, or more",
        )
    return limits


def check_machine(limits: Limits, *, swap: bool, no_read: str, no_write: str) -> None:
    """Raises Invalid for what this machine's kernel does not bound: swap, or reading and writing for a reason."""
    for name, size, reason in (("--io-read", limits.io_read, no_read), ("--io-write", limits.io_write, no_write)):
        if size and reason:
            raise Invalid(f"{name} holds nobody on this machine: {reason}", hint=f"leave out {name}")
    if limits.memory_swap and not swap:
        raise Invalid(
            "this machine's kernel does not count swap, so it cannot be bounded",
            hint="leave out --memory-swap; or boot with swapaccount=1",
        )


def merged(said: Limits, otherwise: Limits) -> Limits:
    """What is said, and the rest as it is otherwise."""
    values = {field: getattr(otherwise if getattr(said, field) is None else said, field) for field in NAMES}
    return msgspec.structs.replace(said, **values)


def only(limits: Limits, names: set[str]) -> Limits:
    """Those of these names; of the others nothing is said."""
    return msgspec.structs.replace(limits, **{field: None for field, name in NAMES.items() if name not in names})


def shown(limits: Limits) -> dict[str, str]:
    """Each by its name; empty where there is none."""
    return {
        "memory": show_size(limits.memory) if limits.memory else "",
        "memory-swap": show_size(limits.memory_swap)
        if limits.memory_swap
        else ("0" if limits.memory_swap == 0 and limits.memory else ""),
        "cpus": f"{limits.cpus:g}" if limits.cpus else "",
        "pids": str(limits.pids or ""),
        "io-read": f"{show_size(limits.io_read)}/s" if limits.io_read else "",
        "io-write": f"{show_size(limits.io_write)}/s" if limits.io_write else "",
        "quota": show_size(limits.quota) if limits.quota else "",
    }
