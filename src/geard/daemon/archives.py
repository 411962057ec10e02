"""A session as plain HTTP has it, where what goes between is a file: its output is the answer's body, or its input
the question's. So curl does what `gear` does by a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from geard.daemon.body import welcome
from geard.daemon.connections import BODY_SECONDS, TooSlow
from geard.exchange import WINDOW, FromAsker, Input, InputEnd, Output, Taken, ToAsker

TYPE = "application/x-tar"


class BodyLine:
    """See `Line`. The answer is begun with the first byte of output, so that what fails before has a status."""

    def __init__(self, http: web.BaseRequest, begin: Callable[[], web.StreamResponse]) -> None:
        self._http = http
        self._begin = begin
        self._allowed = WINDOW
        self._taken = asyncio.Event()
        self._ended = http.method == "GET"
        self._welcomed = False
        self.response: web.StreamResponse | None = None

    async def hear(self) -> FromAsker:
        if self._ended:
            await asyncio.Event().wait()  # there is no more to be heard
        if not self._welcomed:
            self._welcomed = True
            await welcome(self._http)
        while not self._allowed:
            self._taken.clear()
            await self._taken.wait()
        part = await self._read()
        self._allowed -= len(part)
        self._ended = not part
        return Input(part) if part else InputEnd()

    async def _read(self) -> bytes:
        """Raises TooSlow, and what aiohttp raises where the body breaks off."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._http.content.read(self._allowed)
        except TimeoutError:
            raise TooSlow(f"nothing more of the body has come within {BODY_SECONDS:g} s") from None

    async def say(self, event: ToAsker) -> None:
        match event:
            case Output(data) if data:
                if self.response is None:
                    self.response = self._begin()
                    await self.response.prepare(self._http)
                await self.response.write(data)
            case Taken(count):
                self._allowed += count
                self._taken.set()
            case _:
                return  # remarks have no place in there
