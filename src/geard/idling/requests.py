"""The words of idling."""

from __future__ import annotations

from typing import ClassVar, Literal

from geard.containers.requests import Accepted
from geard.request import Answer, Request, Route
from geard.words import Part, Word

Depth = Literal["stop", "freeze"]
WakeWhen = Literal["listens", "ready"]


class IdlePolicy(Word):
    """When a gear is to fall asleep by itself, and how. Nothing said: as the machine's settings have it."""

    after: int | None = None
    """seconds without a connection, a minute at least; 0: never"""
    depth: Depth | None = None
    asleep: str | None = None
    """22:00-06:00: then it falls asleep after a minute without a connection; empty: never so"""
    wake_from: tuple[str, ...] | None = None
    """networks whose connections wake it; empty: all"""
    wake_interfaces: tuple[str, ...] | None = None
    """interfaces of the host's (`eth0`, `wg*`) by which these have to come; empty: all"""
    wake_udp: bool | None = None
    """whether a datagram to one of its UDP ports wakes it as well, and is held till then"""
    wake_when: WakeWhen | None = None
    """when what woke it goes on: `listens`, as soon as its program does; `ready`, when that says READY=1
    (sd_notify(3), podman alone), for which every start of the gear waits
    """


class IdlePart(Part):
    """`Idle` of an install: absent, as the machine's settings have it."""

    key: ClassVar[str] = "Idle"
    value: IdlePolicy


class IdleContainer(Request[Accepted]):
    """Have a gear idle until the next connection to one of its published ports, over boots too.

    `stop` ends its program; `freeze` only has it stand still, and keeps its memory.
    """

    route = Route("PUT", "/container/{id}/idle")
    example = {"Id": "web-1", "Depth": "stop"}

    id: str
    depth: Depth = "stop"


class FallAsleep(Request[Accepted]):
    """What is left to do behind the answer to that; it goes by the flag on disk."""

    id: str


class KeepReady(Request[Accepted]):
    """The agent: have the container of an idle gear made, or made anew, so that only its program has to begin."""

    id: str


class WakeStep(Word):
    name: str
    """thawed; or asked, begun; or asked, prepared, created, running; and listens: docs/IDLING.md"""
    ms: float
    """since the packet came to the waker"""


class WakeTime(Answer):
    """What a gear's last wake took, step by step."""

    example = {
        "Id": "web-1",
        "At": "2026-11-28T18:55:51+00:00",
        "Port": 4100,
        "Steps": [{"Name": "asked", "Ms": 0.8}, {"Name": "listens", "Ms": 240.5}],
    }

    id: str
    at: str
    """when the packet came (RFC 3339)"""
    port: int
    """of the host, to which it went"""
    steps: tuple[WakeStep, ...]


class GetWakeTime(Request[WakeTime]):
    """Where the time went between the packet that woke a gear last and the moment when the gear listened.

    404 where its last start was not a wake.
    """

    route = Route("GET", "/container/{id}/wake", scope="read", text=False)

    id: str
