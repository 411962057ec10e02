"""A stream: items one behind the other, from the one an asker was given last (`take_cursor`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from aiohttp import web

from geard.daemon.forms import FileLines, Lines, TextLines, lines_of
from geard.daemon.question import Question
from geard.daemon.responses import begin
from geard.daemon.writing import Writer
from geard.failures import Failure, Invalid
from geard.request import Answer, Piece

log = logging.getLogger(__name__)

LAST_EVENT_ID = "Last-Event-ID"
CURSOR_LIMIT = 300
# So long headers wait for a stream's first item: what fails until then has a status, not a line of text.
FIRST_ITEM_SECONDS = 2.0


def take_cursor(headers: Mapping[str, str], query: dict[str, str]) -> str:
    """What the asker was given last, taken out of the query; empty where it says nothing.

    The header wins: a browser that comes back says it there, at the very address it asked at first (the HTML
    standard, "Server-sent events"). Raises Invalid.
    """
    cursor = query.pop("cursor", "")
    cursor = headers.get(LAST_EVENT_ID, "").strip() or cursor
    if len(cursor) > CURSOR_LIMIT:
        raise Invalid("that is no cursor: it is too long")
    return cursor


async def stream(
    writer: Writer, question: Question, items: AsyncIterator[Answer], *, file: bool
) -> web.StreamResponse:
    """`file`: the items are pieces of one, and nothing is said before the first."""
    first = asyncio.ensure_future(_next(items))
    try:
        await asyncio.wait({first}, timeout=None if file else FIRST_ITEM_SECONDS)
        found = first.result() if first.done() else None
        lines, further = lines_of(question.form, question.id), dict[str, str]()
        if isinstance(found, Piece) and isinstance(lines, TextLines):
            lines = FileLines(found)
            if found.name:
                further = {"Content-Disposition": f'attachment; filename="{found.name}"'}
        response = begin(question, lines, further)
        return await writer.write(question, response, lines, _written(question, first, items, lines), endless=True)
    finally:
        if not first.done():
            first.cancel()
            await asyncio.wait({first})
        if isinstance(items, AsyncGenerator):
            await items.aclose()


async def _written(
    question: Question, first: asyncio.Future[Answer | None], items: AsyncIterator[Answer], lines: Lines
) -> AsyncGenerator[bytes, None]:
    try:
        item = await first
        while item is not None:
            yield lines.item(item)
            item = await _next(items)
    except Failure as failure:
        yield lines.failure(failure)
    except Exception:
        log.exception("request %s met a bug", question.id)
        yield lines.failure(question.bug())
    else:
        yield lines.done()


async def _next(items: AsyncIterator[Answer]) -> Answer | None:
    return await anext(items, None)
