"""Telling systemd how the agent is: sd_notify(3), in the few lines it takes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

log = logging.getLogger(__name__)


class Notifier:
    """Speaks to whoever started this process, if they listen.

    Takes the variables out of the environment: podman, asked by a child of ours, would obey them too.
    """

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        interval = os.environ.pop("WATCHDOG_USEC", "")
        meant = os.environ.pop("WATCHDOG_PID", "")
        ours = not meant or meant == str(os.getpid())
        self.watchdog_seconds = int(interval) / 1e6 if interval.isdigit() and ours and address else 0.0

    def say(self, state: str, *fds: int) -> None:
        """`fds` go along: with FDSTORE=1, to be kept over a restart and handed over again (sd_listen_fds(3))."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)
                line.connect(self._address)
                socket.send_fds(line, [state.encode()], fds) if fds else line.send(state.encode())
        except OSError as error:
            log.warning("cannot tell systemd %s: %s", state.partition("\n")[0], error)

    async def beat(self) -> None:
        """Beat for as long as this loop turns; a loop that is stuck stops beating and is restarted."""
        while self.watchdog_seconds:
            self.say("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)
