"""Keeps the certificates alive by which root of this machine, and its agent, may ask other machines' agents."""

from __future__ import annotations

import asyncio
import logging
import threading

from geard.failures import Failure
from geard.transport import known_hosts

log = logging.getLogger(__name__)

LOOK_SECONDS = 6 * 3_600.0


async def keep_renewed() -> None:
    """For ever."""
    while True:
        # The agent's end does not wait for a machine that does not answer.
        threading.Thread(target=renew_all, name="renewing", daemon=True).start()
        await asyncio.sleep(LOOK_SECONDS)


def renew_all() -> None:
    try:
        names = known_hosts.names()
    except OSError as error:
        log.warning("cannot look for certificates of other machines: %s", error)
        return
    for name in names:
        try:
            known = known_hosts.find(name)
            if known is None or not known_hosts.due(known):
                continue
            from geard.transport.joining import renew  # noqa: PLC0415 - 15 MB, once in two months

            log.info("the certificate for %s holds until %s now", name, renew(name, known).expires)
        except (Failure, OSError, ValueError) as error:
            log.warning("cannot renew the certificate for %s: %s", name, error)
