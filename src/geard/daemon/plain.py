"""Paths below which a room answers in the words of a protocol of others (`registry.py` of a room)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from types import ModuleType

from aiohttp import web

from geard import catalog
from geard.dispatch.plain import Ask, Plain
from geard.failures import Denied
from geard.request import Asker


class Protocols:
    def __init__(self) -> None:
        self._modules = {module.PREFIX: module for module in catalog.doors("registry")}

    def of(self, path: str) -> ModuleType | None:
        return next((module for prefix, module in self._modules.items() if path.startswith(prefix)), None)


def ask_of(http: web.BaseRequest) -> Ask:
    return Ask(
        method=http.method,
        path=http.rel_url.raw_path,
        query=dict(http.rel_url.query),
        range=http.headers.get("Range", ""),
    )


def check_asker(asker: Asker, module: ModuleType, path: str) -> None:
    """Raises Denied."""
    if not asker.may(module.SCOPE):
        raise Denied(f"{asker.name} may not ask for {path[:300]}", hint=f"it takes scope {module.SCOPE}")
    if asker.only:
        raise Denied(f"{asker.name} may not ask for {path[:300]}", hint="it concerns the whole machine")


async def pieces_of(plain: Plain) -> AsyncGenerator[bytes, None]:
    """The body, each piece read in a thread when the one before has been taken."""
    assert plain.pieces is not None
    pieces = plain.pieces()
    try:
        while piece := await asyncio.to_thread(_next, pieces):
            yield piece
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            await asyncio.to_thread(close)


def _next(pieces: Iterator[bytes]) -> bytes:
    return next(pieces, b"")
