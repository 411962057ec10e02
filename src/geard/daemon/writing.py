"""An answer that goes on, written at the pace it is read at.

Streams take turns (`Turns`), one that says nothing shows that it is there (a beat), and an asker that stays and
reads nothing is cut off after a while (`Stall`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator

from aiohttp import web

from geard.daemon.forms import Lines
from geard.daemon.question import Question
from geard.failures import Failure

log = logging.getLogger(__name__)

BEAT_SECONDS = 15.0
PARTS = 16
STALL_SECONDS = 60.0
"""an asker that takes nothing for so long is cut off: it knows the cursor of what it took last"""


class Writer:
    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._turns = Turns()

    async def write(
        self,
        question: Question,
        response: web.StreamResponse,
        lines: Lines,
        parts: AsyncGenerator[bytes, None],
        *,
        endless: bool = False,
    ) -> web.StreamResponse:
        """Write `parts` as they come until they end or the asker leaves; `endless` ones until the agent stops."""

        async def write() -> None:
            async for part in parts:
                if part:
                    await self._turns.mine()
                    await response.write(part)

        if self._stopping.is_set():
            response.force_close()
        await response.prepare(question.http)
        writing, stall = asyncio.create_task(write()), Stall(question.http.transport)
        ends = {asyncio.create_task(question.visit.gone.wait())}
        if endless:
            ends.add(asyncio.create_task(self._stopping.wait()))
        try:
            while True:
                done, _ = await asyncio.wait(
                    {writing, *ends}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    break
                if stall.too_long(asyncio.get_running_loop().time()):
                    stall.cut()
                    break
                if not stall.waiting and (beat := lines.beat()):
                    await response.write(beat)
        finally:
            for task in (writing, *ends):
                task.cancel()
            await asyncio.wait({writing, *ends})
            await parts.aclose()
        error = None if writing.cancelled() else writing.exception()
        if isinstance(error, ConnectionAbortedError) and question.http.transport is not None:
            log.warning("request %s was cut off: %s", question.id, error)
            question.http.transport.abort()
        elif isinstance(error, Failure):
            log.warning("request %s was not answered to its end: %s", question.id, error)
            response.force_close()
        elif error is not None and not isinstance(error, ConnectionError):
            log.error("request %s met a bug while it was answered", question.id, exc_info=error)
            response.force_close()
        return response


class Turns:
    """Streams take turns: so many parts of all of them are written in one turn of the event loop (0.5 ms), so that
    a thousand followers of a chatty gear hold up nobody else for longer. While there are fewer, nobody waits.
    """

    def __init__(self) -> None:
        self._left = PARTS
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._announced = False

    async def mine(self) -> None:
        if self._left and not self._waiting:
            self._left -= 1
            self._announce()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._announce()
        await turn

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._announced, self._left = False, PARTS
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        if self._waiting:
            self._announce()


class Stall:
    """Watches whether what was written to a connection is being taken."""

    def __init__(self, transport: asyncio.WriteTransport | None) -> None:
        self._transport = transport
        self._least = 0
        self._since = 0.0

    @property
    def waiting(self) -> bool:
        """Whether anything that was written has not been taken yet."""
        return self._size() > 0

    def too_long(self, now: float) -> bool:
        size = self._size()
        if size == 0 or size < self._least or not self._least:
            self._least, self._since = size, now
        return size > 0 and now - self._since >= STALL_SECONDS

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _size(self) -> int:
        return (
            0
            if self._transport is None or self._transport.is_closing()
            else self._transport.get_write_buffer_size()
        )
