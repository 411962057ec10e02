"""The words of limits."""

from __future__ import annotations

from geard.containers.limits import shown
from geard.containers.requests import Accepted, Limits
from geard.request import Answer, Request, Route
from geard.words import Word


class LimitedContainer(Answer):
    """The limits after a change, on record; the report tells since when they hold."""

    example = {
        "Id": "web-1",
        "Version": "W84-0qbWlQoXPRVUOIVzYg",
        "Limits": {"Memory": 1073741824, "Cpus": 0.5, "Pids": 200},
        "Changed": True,
    }

    id: str
    version: str
    """the request id under which the definition with them is kept"""
    limits: Limits
    """all of them"""
    changed: bool = True
    """False where just these were installed before"""

    def text(self) -> str:
        return f"Limits of {self.id}: " + ", ".join(
            f"{name} {text}" for name, text in shown(self.limits).items() if text
        )


class LimitContainer(Request[LimitedContainer]):
    """Change the limits that are said here, also while the gear runs, without a restart; the others stay.

    Refused (412) where the gear holds more just now than it is to have. The fields are those of Limits.
    """

    route = Route("PATCH", "/container/{id}/limits", also=("PUT",))
    example = {"Id": "web-1", "Memory": 1073741824, "Cpus": 0.5, "Pids": 200}

    id: str
    memory: int | None = None
    """bytes; 0: no limit of its own, here and below"""
    memory_swap: int | None = None
    """bytes of memory and swap together"""
    cpus: float | None = None
    pids: int | None = None
    """processes and threads"""
    io_read: int | None = None
    """bytes a second from the disk that /var/lib/containers is on"""
    io_write: int | None = None
    """bytes a second to it; only with control groups of version 2"""
    quota: int | None = None
    """bytes that all of its own volumes may hold together, where the file system counts that"""


class HoldContainer(Request[Accepted]):
    """What is left to do behind the answer: have the kernel hold the gear to what is installed."""

    id: str
    changed: bool = False


class Usage(Word):
    """What has been used, and the most that may be; a limit of 0: none of its own. What the kernel does not count
    is 0.
    """

    memory: int
    """bytes, without files that the kernel can forget"""
    memory_limit: int = 0
    swap: int = 0
    """bytes of it in swap"""
    pids: int = 0
    """processes and threads"""
    pids_limit: int = 0
    cpu_seconds: float = 0
    """used since it was started; twice asked, the difference by that of `time` is how many CPUs it takes"""
    cpus_limit: float = 0
    read: int = 0
    written: int = 0
    """bytes from and to disks since it was started"""
    received: int = 0
    sent: int = 0
    """bytes over the network since it was started"""
    disk: int = 0
    disk_limit: int = 0
    """bytes in its own volumes, where there are quotas"""
    layer: int = 0
    layer_limit: int = 0
    """bytes that it has written outside of them, where the engine bounds that"""
    time: float = 0
    """when these were read, in seconds of the host's clock that only goes forward"""


class GearUsage(Word):
    id: str
    usage: Usage


class SliceUsage(Word):
    """All gears in a slice together; `container` holds the other two."""

    name: str
    usage: Usage


class UsageList(Answer):
    example = {
        "Gears": [
            {
                "Id": "web-1",
                "Usage": {"Memory": 41943040, "MemoryLimit": 536870912, "Pids": 5, "PidsLimit": 1024},
            }
        ],
        "Slices": [{"Name": "container-small", "Usage": {"Memory": 41943040, "MemoryLimit": 6291456000}}],
        "Cpus": 2,
        "Memory": 8388608000,
    }

    gears: tuple[GearUsage, ...]
    """those that run"""
    slices: tuple[SliceUsage, ...] = ()
    cpus: int = 1
    memory: int = 0
    """what the machine has"""


class GetUsage(Request[UsageList]):
    """What a gear uses, and may use. One that does not run uses nothing."""

    route = Route("GET", "/container/{id}/usage", scope="read", text=False)

    id: str


class ListUsage(Request[UsageList]):
    """What the gears of a machine use, and may use: those that run."""

    route = Route("GET", "/containers/usage", scope="read", text=False, reach="shown")
