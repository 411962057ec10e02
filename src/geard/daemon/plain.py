"""Paths below which a room answers in the words of a protocol of others (`protocol.py` of a room)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from types import ModuleType

from aiohttp import web

from geard import catalog
from geard.daemon.body import read_pieces
from geard.daemon.forms import TextLines
from geard.daemon.question import Question
from geard.daemon.responses import respond_plain, told
from geard.daemon.sessions import Sessions
from geard.daemon.writing import Writer
from geard.dispatch.plain import Ask, Plain
from geard.host import Host
from geard.request import Asker


class Protocols:
    def __init__(self, host: Host, writer: Writer, sessions: Sessions) -> None:
        self._host = host
        self._writer = writer
        self._sessions = sessions
        self._modules = {module.PREFIX: module for module in catalog.doors("protocol")}

    def of(self, path: str) -> ModuleType | None:
        return next((module for prefix, module in self._modules.items() if path.startswith(prefix)), None)

    async def answer(self, question: Question, protocol: ModuleType, asker: Asker) -> web.StreamResponse:
        ask = _ask_of(question.http, asker, question.visit.door.removeprefix("TLS from "))
        if not protocol.RUNS_PROGRAMS:
            return await self._respond(question, await protocol.answer(self._host, ask))
        with self._sessions.one_more():
            plain: Plain = await protocol.answer(self._host, ask)
            try:
                return told(question, await self._respond(question, plain))
            finally:
                if plain.output is not None:
                    await plain.output.aclose()

    async def _respond(self, question: Question, plain: Plain) -> web.StreamResponse:
        if plain.pieces is None and plain.output is None:
            return respond_plain(question, plain)
        response = web.StreamResponse(status=plain.status, headers={**question.headers(), **plain.headers})
        if plain.output is None:
            response.content_length = plain.length
        question.headed = time.monotonic()
        if question.http.method == "HEAD":
            return response
        return await self._writer.write(question, response, TextLines(), plain.output or _pieces_of(plain))


def _ask_of(http: web.BaseRequest, asker: Asker, source: str) -> Ask:
    return Ask(
        method=http.method,
        path=http.rel_url.raw_path,
        query=dict(http.rel_url.query),
        range=http.headers.get("Range", ""),
        headers={name.lower(): value for name, value in http.headers.items()},
        body=lambda: read_pieces(http),
        asker=asker,
        source=source,
    )


async def _pieces_of(plain: Plain) -> AsyncGenerator[bytes, None]:
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
