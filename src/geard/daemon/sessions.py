"""Sessions: what goes both ways until a program has ended, over a connection upgraded for it or as bodies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Generator, Set
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from geard.daemon import archives
from geard.daemon.question import Question
from geard.daemon.responses import respond_whole, told
from geard.daemon.upgrade import AskersLine, UpgradeRequired, upgraded, wants_session
from geard.dispatch.dispatcher import Dispatcher
from geard.exchange import Exit, Failed, Talk
from geard.failures import Failure, Full, Unavailable
from geard.request import Asker, Nothing, Request

log = logging.getLogger(__name__)

# Each is a few processes and some 50 MB.
SESSIONS = 100


class Sessions:
    """They take no record: none can be joined."""

    def __init__(self, dispatcher: Dispatcher, stopping: asyncio.Event) -> None:
        self._dispatcher = dispatcher
        self._stopping = stopping
        self.open = 0

    @contextmanager
    def one_more(self) -> Generator[None]:
        """Raises Full."""
        if self.open >= SESSIONS:
            raise Full(f"{SESSIONS} sessions are open", hint="ask again when one has ended")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def hold(self, question: Question, request: Request[Any], asker: Asker) -> web.StreamResponse:
        """Until the program there has ended, or the asker leaves."""
        upgrades = wants_session(question.http)
        if not upgrades and not type(request).archive:
            raise UpgradeRequired(question.http.rel_url.raw_path)
        with self.one_more():
            talk: Talk = await self._dispatcher.ask(request, asker)
            return await (self._upgraded(question, talk) if upgrades else self._by_bodies(question, talk))

    async def _upgraded(self, question: Question, talk: Talk) -> web.StreamResponse:
        response = web.StreamResponse(status=101, headers=question.headers())
        question.headed = time.monotonic()
        told(question, response)
        async with upgraded(question.http, response) as line:
            end = await self._talked(question, talk, line)
            log.info("session %s: %s", question.id, end)
        return response

    async def _talked(self, question: Question, talk: Talk, line: AskersLine) -> str:
        talking = await self._first_of(talk(line), line.gone)
        if line.gone.is_set():
            return "the asker has left; what ran was ended"
        try:
            status = talking.result()
        except asyncio.CancelledError:
            failure: Failure = _stopping()
        except Failure as error:
            failure = error
        except Exception:
            log.exception("session %s met a bug", question.id)
            failure = question.bug()
        else:
            await line.say(Exit(status))
            return f"ended with {status}"
        await line.say(Failed(failure))
        return failure.message

    async def _by_bodies(self, question: Question, talk: Talk) -> web.StreamResponse:
        """One that cannot be completed is broken off."""

        def begin() -> web.StreamResponse:
            question.headed = time.monotonic()
            return web.StreamResponse(headers={**question.headers(), "Content-Type": archives.TYPE})

        line = archives.BodyLine(question.http, begin)
        try:
            await self._until_left(question, talk, line)
        except BaseException as error:
            if line.response is None:
                raise
            if isinstance(error, Failure):
                log.info("request %s is broken off: %s", question.id, error.message)
            if question.http.transport is not None:
                question.http.transport.abort()
            raise ConnectionResetError from None
        if line.response is None:
            return told(question, respond_whole(question, Nothing()))
        await line.response.write_eof()
        return line.response

    async def _until_left(self, question: Question, talk: Talk, line: archives.BodyLine) -> None:
        """Raises the Failure it ends with, ConnectionError where the asker has left."""
        talking = await self._first_of(talk(line), question.visit.gone)
        if not talking.cancelled():
            talking.result()
        elif question.visit.gone.is_set():
            raise ConnectionResetError
        else:
            raise _stopping()

    async def _first_of(self, talk: Awaitable[int], gone: asyncio.Event) -> asyncio.Future[int]:
        """A talk that has ended, by itself or since the asker has left or the agent stops."""
        talking = asyncio.ensure_future(talk)
        ends = {asyncio.create_task(gone.wait()), asyncio.create_task(self._stopping.wait())}
        try:
            await asyncio.wait({talking, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (talking, *ends):
                task.cancel()
            await _all_ended({talking, *ends})
        return talking


def _stopping() -> Unavailable:
    return Unavailable("the agent is stopping; what ran was ended", hint="try again in a moment")


async def _all_ended(tasks: Set[asyncio.Future[Any]]) -> None:
    """Wait for all; cancelled meanwhile, cancel them once more, so that they hurry, and wait all the same."""
    while left := {task for task in tasks if not task.done()}:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError:
            for task in left:
                task.cancel()
