"""What the agent does for idling: gears that nobody has asked for in a while fall asleep.

One look every 15 seconds at all gears together, by what the kernel counts in each one's network: nothing stands in
the way of their packets.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

from geard.containers import asleep, listing, versions
from geard.containers.folders import Folders, unit_name
from geard.dispatch.dispatcher import Dispatcher
from geard.failures import Failure
from geard.host import Host
from geard.idling import ready
from geard.idling.policy import LEAST, Quiet, decide
from geard.idling.requests import Depth, IdleContainer, IdlePart, IdlePolicy, KeepReady
from geard.idling.settings import IdlingSettings
from geard.idling.traffic import Inside, look_at
from geard.jobs.records import gears_with_jobs
from geard.request import AGENT
from geard.sessions.listing import opened
from geard.words import part_of

log = logging.getLogger(__name__)

TURN_SECONDS = 15.0
MADE_READY = 4
"""containers of idle gears that are made in a turn"""
AGAIN_SECONDS = 900.0
"""… and the pause after one that could not be made"""
NOTHING = IdlePolicy(), "", frozenset[Inside]()


async def serve(host: Host, dispatcher: Dispatcher) -> None:
    watch = Watch(host)
    tried: dict[str, float] = {}
    while True:
        try:
            units = await host.systemd.units("ctr-*.service")
            active = {name for name, unit in units.items() if unit.active == "active"}
            for id, depth in await asyncio.to_thread(watch.look, active, time.monotonic()):
                log.info("%s has had nothing to do and falls asleep", id)
                async for _ in dispatcher.perform(IdleContainer(id=id, depth=depth), AGENT).report():
                    pass
            now = time.monotonic()
            tried = {id: at for id, at in tried.items() if now - at < AGAIN_SECONDS}
            for id in (await asyncio.to_thread(ready.wanting, host, tried))[:MADE_READY]:
                tried[id] = now
                async for _ in dispatcher.perform(KeepReady(id=id), AGENT).report():
                    pass
                if await asyncio.to_thread(asleep.is_ready, Folders(host.paths, id)):
                    del tried[id]
        except Failure as failure:
            log.warning("%s", failure.message)
        await asyncio.sleep(TURN_SECONDS)


class Watch:
    def __init__(self, host: Host, proc: Path = Path("/proc")) -> None:
        self._host = host
        self._proc = proc
        self._quiet = Quiet()
        self._known: dict[str, tuple[tuple[int, int], tuple[IdlePolicy, str, frozenset[Inside]]]] = {}
        """of each definition, while its file is the same: what it says of idling, its slice, its ports inside"""

    def look(self, active: set[str], now: float) -> list[tuple[str, Depth]]:
        """The gears that are to fall asleep now. Blocks."""
        settings = self._host.settings.section(IdlingSettings)
        clock = time.localtime()
        minute = clock.tm_hour * 60 + clock.tm_min
        idle = set(listing.idle(self._host.paths))
        busy: set[str] | None = None
        found: list[tuple[str, Depth]] = []
        looked: set[str] = set()
        for id in listing.installed(self._host.paths):
            if id in idle or unit_name(id) not in active:
                continue
            folders = Folders(self._host.paths, id)
            policy, slice, ports = self._definition(folders)
            after, depth = decide(policy, settings.machine(slice), minute)
            if not after or not ports:
                continue
            seen = look_at(self._proc, folders.state, ports)
            if seen is None:
                continue
            if busy is None:
                busy = {session.id for session in opened(self._host.paths)} | gears_with_jobs(self._host.paths)
            looked.add(id)
            if self._quiet.look(id, seen, now, busy=id in busy) >= max(after, LEAST):
                found.append((id, depth))
        self._quiet.keep(looked)
        return found

    def _definition(self, folders: Folders) -> tuple[IdlePolicy, str, frozenset[Inside]]:
        try:
            status = os.stat(folders.run)
        except FileNotFoundError:
            return NOTHING
        signature = (status.st_ino, status.st_mtime_ns)
        known = self._known.get(folders.id)
        if known is not None and known[0] == signature:
            return known[1]
        definition = versions.current(folders)
        if definition is None:
            return NOTHING
        part = part_of(IdlePart, definition.parts)
        policy = part.value if part is not None else IdlePolicy()
        ports = frozenset((pair.protocol, pair.internal) for pair in asleep.ports(folders, definition))
        said = policy, definition.slice, ports
        self._known[folders.id] = signature, said
        return said
