"""What the agent does by itself as it starts: it ends what killed ones began, and tells of pushes that wait."""

from __future__ import annotations

import asyncio

from geard.dispatch.dispatcher import Dispatcher
from geard.host import Host
from geard.repositories import folders, webhooks


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    await asyncio.to_thread(folders.clear, host)
    await asyncio.to_thread(webhooks.tell, host)
