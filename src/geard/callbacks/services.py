"""While the agent runs: outcomes go into the outbox, and from there to their receivers."""

from __future__ import annotations

import asyncio

from geard.callbacks.delivering import Deliverer
from geard.dispatch.dispatcher import Dispatcher
from geard.host import Host


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    deliverer = Deliverer(host, dispatcher)
    dispatcher.callbacks = deliverer
    dispatcher.when_ended.append(deliverer.ended)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(deliverer.take_over(), name="callbacks of an earlier agent")
            group.create_task(deliverer.deliver(), name="callbacks")
    finally:
        dispatcher.when_ended.remove(deliverer.ended)
        await deliverer.noted()
