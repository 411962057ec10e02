"""What the agent does by itself: jobs that were kept long enough go, what was cut is put right."""

from __future__ import annotations

import asyncio
import logging

from geard.dispatch.dispatcher import Dispatcher
from geard.failures import Failure
from geard.host import Host
from geard.jobs.collecting import tidy

EVERY_SECONDS = 900.0

log = logging.getLogger(__name__)


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    await dispatcher.resume()  # jobs that were answered and not started are started first
    while True:
        try:
            await tidy(host)
        except (Failure, OSError) as failure:
            log.warning("jobs that have ended are not tidied away: %s", failure)
        await asyncio.sleep(EVERY_SECONDS)
