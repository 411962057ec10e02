"""What the agent does for links: names are resolved again, links written by hand are followed, and connections to
far ends that are gone are ended.
"""

from __future__ import annotations

import asyncio
import logging
import os

from geard.dispatch.dispatcher import Dispatcher
from geard.failures import Failure
from geard.host import Host
from geard.links import live, store
from geard.links.strays import cut_gone, find

log = logging.getLogger(__name__)

TURN_SECONDS = 10.0


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    watch = Watch(host)
    while True:
        await asyncio.to_thread(watch.turn)
        await asyncio.sleep(TURN_SECONDS)


class Watch:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._suspects: dict[str, set[tuple[str, int]]] = {}
        self._settled: dict[str, tuple[int, int]] = {}
        """gears without strays, and what was written down of them then"""

    def turn(self) -> None:
        for id in self._linked():
            try:
                self._look_after(id)
            except Failure as failure:
                log.warning("%s", failure.message)

    def _linked(self) -> list[str]:
        folder = self._host.paths.base / "ports" / "links"
        gears = self._host.paths.run / "gears"
        on_disk = {path.name for path in folder.glob("??/*") if not path.name.startswith(".")}
        return sorted(on_disk | {path.parent.name.removeprefix("ctr-") for path in gears.glob("ctr-*/links")})

    def _look_after(self, id: str) -> None:
        place = store.place(self._host.paths, id)
        if not live.process(place):
            self._settled.pop(id, None)
            return
        store.follow(self._host, id)
        try:
            status = os.stat(f"{place.state}/links")
        except FileNotFoundError:
            return
        now = (status.st_ino, status.st_mtime_ns)
        if self._settled.get(id) == now:
            return
        suspects = self._suspects.setdefault(id, set())
        if ended := cut_gone(place, suspects):
            log.info("ended %d connections of %s to far ends that are gone", ended, id)
        if not find(place)[1]:
            self._settled[id] = now
            self._suspects.pop(id, None)
