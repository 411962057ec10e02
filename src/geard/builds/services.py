"""What the agent does by itself: builds what was pushed, settles builds that a lost machine cut short."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from geard.builds import keeping, watching
from geard.dispatch.dispatcher import Dispatcher
from geard.failures import Failure
from geard.host import Host
from geard.request import AGENT

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    await keeping.tidy(host)
    while True:
        for watch in await asyncio.to_thread(watching.watches, host.paths):
            try:
                await _build(host, dispatcher, watch)
            except Failure as failure:
                log.warning("build of what was pushed to %s: %s", watch.repository, failure.message)
        await asyncio.sleep(LOOK_SECONDS)


async def _build(host: Host, dispatcher: Dispatcher, watch: watching.Watch) -> None:
    repository = host.paths.base / "git" / watch.repository
    commit = await asyncio.to_thread(watching.tip, repository, watch.ref)
    if not commit or commit == watch.built:
        return
    id, wish = watching.wish_for(watch, commit)
    log.info("%s was pushed to %s: building %s", commit[:10], watch.repository, wish.tag)
    try:
        await dispatcher.perform(wish, AGENT, id).answer()
    finally:
        # One that is refused is not tried again and again: the next push is.
        await asyncio.to_thread(watching.write, host.paths, msgspec.structs.replace(watch, built=commit))
