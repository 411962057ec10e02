"""A change: its answer, and the report behind it for those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, TypeVar

from aiohttp import web

from geard.daemon.forms import Form, Lines, NdjsonLines, lines_of
from geard.daemon.question import Question
from geard.daemon.responses import begin, respond_whole, told
from geard.daemon.writing import Writer
from geard.dispatch.dispatcher import Dispatcher
from geard.dispatch.running import LeftError, Running
from geard.failures import Failure, Invalid, TimedOut
from geard.request import Answer, Asker, Request
from geard.transport.wire import REQUEST_ID

T = TypeVar("T")

# What `"Wait": true` in a body means; the original's 15 seconds.
WAIT_SECONDS = 15.0


async def perform(
    dispatcher: Dispatcher, writer: Writer, question: Question, request: Request[Any], asker: Asker
) -> web.StreamResponse:
    running = dispatcher.perform(request, asker, question.id)
    if question.callback and dispatcher.callbacks is not None:
        line, secret = f"{question.method} {question.path}", type(request).secret_answer
        await dispatcher.callbacks.promise(running, question.callback, line, asker.name, secret_answer=secret)
    answer: Answer = await running.answer()
    patience = _patience(question.http.headers, request)
    if not question.follow and patience is None:
        return told(question, respond_whole(question, answer))
    if question.form is Form.JSON:
        async for _ in _within(running.report(), patience, running.id):
            pass
        return told(question, respond_whole(question, answer))
    lines = lines_of(question.form, question.id)
    response = told(question, begin(question, lines, answer.headers()))
    return await writer.write(question, response, lines, _report(running, answer, lines, patience, question.seen))


def steps_of(cursor: str) -> int:
    """How many steps of a report the asker has had. Raises Invalid."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
        raise Invalid(
            f"{cursor!r} is no step of a report", hint="its cursors are the numbers of its steps: 0, 1, 2, …"
        )
    return int(cursor)


def _patience(headers: Mapping[str, str], request: Request[Any]) -> float | None:
    """For how many seconds the asker wants to see the report: Prefer: wait=N (RFC 7240), or Wait in the body.

    None where neither says so. Raises Invalid.
    """
    for preference in headers.get("Prefer", "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            value = value.strip().strip('"')
            if not (value.isascii() and value.isdigit()):
                raise Invalid(f"Prefer: wait={value} is no number of seconds")
            return float(value)
    # a request that can be waited for says so with a field of that name: true, or a number of seconds
    wait = getattr(request, "wait", False)
    if wait is True:
        return WAIT_SECONDS
    return float(wait) if wait else None


async def _report(
    running: Running, answer: Answer, lines: Lines, patience: float | None, seen: int
) -> AsyncGenerator[bytes, None]:
    """The answer, and the steps after the first `seen`."""
    yield lines.answer(answer)
    number = 0
    try:
        async for step in _within(running.report(), patience, running.id):
            number += 1
            if number > seen:
                yield lines.step(step, number)
    except LeftError as left:
        if not isinstance(lines, NdjsonLines):  # a program sees that it has no end, and asks again
            yield lines.failure(left)
    except Failure as failure:
        yield lines.failure(failure)
    else:
        yield lines.done()


async def _within(items: AsyncIterator[T], patience: float | None, id: str) -> AsyncGenerator[T, None]:
    """`items` for so many seconds. Raises TimedOut, naming the request to join again."""
    until = None if patience is None else asyncio.get_running_loop().time() + patience
    while True:
        try:
            async with asyncio.timeout_at(until):
                item = await anext(items)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise TimedOut(
                f"still going on after {patience:g} s",
                hint=f"ask again with {REQUEST_ID}: {id} to see the rest",
            ) from None
        yield item
