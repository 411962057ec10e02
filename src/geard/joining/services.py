"""What the agent does for requests by itself: goes on with what was cut short, keeps records, removes old ones."""

from __future__ import annotations

from geard.dispatch.dispatcher import Dispatcher
from geard.host import Host


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    await dispatcher.keep()
