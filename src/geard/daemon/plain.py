"""Paths below which a room answers in the words of a protocol of others (`protocol.py` of a room)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from types import ModuleType

from aiohttp import HttpVersion11, web

from geard import catalog
from geard.daemon.connections import STALL_SECONDS, TooSlow
from geard.dispatch.plain import Ask, Plain
from geard.request import Asker


class Protocols:
    def __init__(self) -> None:
        self._modules = {module.PREFIX: module for module in catalog.doors("protocol")}

    def of(self, path: str) -> ModuleType | None:
        return next((module for prefix, module in self._modules.items() if path.startswith(prefix)), None)


def ask_of(http: web.BaseRequest, asker: Asker, source: str) -> Ask:
    return Ask(
        method=http.method,
        path=http.rel_url.raw_path,
        query=dict(http.rel_url.query),
        range=http.headers.get("Range", ""),
        headers={name.lower(): value for name, value in http.headers.items()},
        body=lambda: _body_of(http),
        asker=asker,
        source=source,
    )


async def _body_of(http: web.BaseRequest) -> AsyncGenerator[bytes]:
    """Raises TooSlow, and what aiohttp raises where it breaks off."""
    if http.headers.get("Expect", "").lower() == "100-continue" and http.version == HttpVersion11:
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0  # what counts is the answer
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                piece = await http.content.readany()
        except TimeoutError:
            raise TooSlow(f"nothing more of the body has come within {STALL_SECONDS:g} s") from None
        if not piece:
            return
        yield piece


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
