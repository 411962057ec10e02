"""While the agent runs: since when an image is unused is noted, and old ones go where the settings say so."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from geard.dispatch.dispatcher import Dispatcher
from geard.failures import Failure
from geard.host import Host
from geard.images import pruning
from geard.images.settings import ImageSettings

log = logging.getLogger(__name__)

FIRST_SECONDS = 300.0
EVERY_SECONDS = 3_600.0


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    """An engine that fails is asked again an hour later."""
    await asyncio.sleep(FIRST_SECONDS)
    while True:
        for engine in host.engines.values():
            if engine.is_installed():
                try:
                    await _tend(host, engine.name)
                except Failure as failure:
                    log.info("images of %s are not looked after: %s", engine.name, failure)
        await asyncio.sleep(EVERY_SECONDS)


async def _tend(host: Host, name: str) -> None:
    engine = host.engine_named(name)
    if host.settings.section(ImageSettings).prune:
        done = await pruning.prune(host, engine, days=None, dry_run=False)
        for each in done.removed:
            log.info("removed the image %s, unused for long", " ".join(each.names) or each.id)
        return
    _, uses = await pruning.look(host, engine)
    before = await asyncio.to_thread(pruning.unused_since, host.paths, name)
    since = pruning.noted_anew(uses, before, datetime.now(UTC))
    await asyncio.to_thread(pruning.note_unused, host.paths, name, since, tuple(host.engines))
