"""Links that stand for another request (`entrance.py` of a room): found by their path, ended when they expire."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from aiohttp import web

from geard import catalog
from geard.daemon.body import has_body
from geard.daemon.table import WrongMethod
from geard.dispatch.entered import Entered
from geard.failures import Invalid
from geard.host import Host
from geard.transport.wire import CALLBACK

if TYPE_CHECKING:
    from geard.daemon.admission import Visit


class Entrances:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._modules = {module.PREFIX: module for module in catalog.doors("entrance")}

    def _of(self, path: str) -> ModuleType | None:
        return next((module for prefix, module in self._modules.items() if path.startswith(prefix)), None)

    def shown(self, path: str) -> str:
        """`path` as the journal may have it."""
        module = self._of(path)
        return str(module.shown(path)) if module is not None else path[:300]

    async def enter(self, http: web.BaseRequest) -> Entered | None:
        """What is asked where the path is such a link; None where it is none.

        Raises Unauthenticated, Denied; WrongMethod, and Invalid where more is said than the link itself.
        """
        path = http.rel_url.raw_path
        module = self._of(path)
        if module is None:
            return None
        entered: Entered = await module.enter(self._host, path)
        if http.method not in entered.methods:
            raise WrongMethod(http.method, self.shown(path), entered.methods)
        if await has_body(http) or http.rel_url.query_string or http.headers.get(CALLBACK):
            raise Invalid("a link says all of its request", hint="no query, no body and no callback beside it")
        return entered


@asynccontextmanager
async def until(visit: Visit, expires: float) -> AsyncGenerator[Visit]:
    """`visit` as if the asker left when the link expires, if not before."""
    gone = asyncio.Event()

    async def watch() -> None:
        try:
            async with asyncio.timeout(expires - time.time()):
                await visit.gone.wait()
        except TimeoutError:
            pass
        gone.set()

    watching = asyncio.create_task(watch(), name="until a link expires")
    try:
        yield dataclasses.replace(visit, gone=gone)
    finally:
        watching.cancel()
        await asyncio.wait({watching})
