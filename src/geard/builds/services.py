"""What the agent does by itself: builds what was pushed while nothing ran here, settles builds that a lost machine
cut short, forgets what is kept no longer.
"""

from __future__ import annotations

import asyncio

from geard.builds import keeping
from geard.builds.requests import BuildPushed
from geard.dispatch.dispatcher import Dispatcher
from geard.host import Host
from geard.request import AGENT

TIDY_SECONDS = 900.0


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    await dispatcher.perform(BuildPushed(), AGENT).answer()
    while True:
        await keeping.tidy(host)
        await asyncio.sleep(TIDY_SECONDS)
