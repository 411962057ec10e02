"""The words of idling."""

from __future__ import annotations

from typing import Literal

from geard.containers.requests import Accepted
from geard.request import Request, Route

Depth = Literal["stop", "freeze"]


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
