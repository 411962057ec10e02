"""A connection that ceases to be HTTP and becomes the line of a session (RFC 9110, 7.8)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from geard.exchange import WINDOW, Errors, FromAsker, Input, Output, ToAsker
from geard.failures import Invalid
from geard.frames import FRAME_LIMIT, PROTOCOL, encode, from_asker
from geard.transport.session import keep_watch

FAREWELL_SECONDS = 5.0
_EVENT_BYTES = 64
_HEARD_LIMIT = WINDOW + 4 * FRAME_LIMIT


class UpgradeRequired(Invalid):
    """On the wire its kind is Invalid, its status 426."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is a session, not an answer", hint=f"Connection: Upgrade, Upgrade: {PROTOCOL}; or use gear"
        )

    @property
    def kind(self) -> str:
        return "Invalid"


def wants_session(http: web.BaseRequest) -> bool:
    tokens = [word.strip().lower() for word in http.headers.get("Connection", "").split(",")]
    return "upgrade" in tokens and http.headers.get("Upgrade", "").strip().lower() == PROTOCOL


class AskersLine(asyncio.Protocol):
    """See `Line`. It takes the connection over from aiohttp's protocol, which still learns how it ends."""

    def __init__(self, transport: asyncio.Transport, before: asyncio.BaseProtocol) -> None:
        self._transport = transport
        self._before = before
        self._decoder = from_asker()
        self._heard: deque[FromAsker] = deque()
        self._heard_bytes = 0
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._over = False
        self.gone = asyncio.Event()
        """set when the asker has left, or does not keep to the protocol"""

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        try:
            events = self._decoder.feed(data)
        except Invalid:
            self._transport.abort()
            return
        self._heard.extend(events)
        self._heard_bytes += sum(_weight(event) for event in events)
        if self._heard_bytes > _HEARD_LIMIT:
            self._transport.pause_reading()
        self._news.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self._before.connection_lost(exc)

    async def hear(self) -> FromAsker:
        while not self._heard:
            self._news.clear()
            await self._news.wait()
        event = self._heard.popleft()
        self._heard_bytes -= _weight(event)
        if not self._over and self._heard_bytes <= _HEARD_LIMIT:
            self._transport.resume_reading()
        return event

    async def say(self, event: ToAsker) -> None:
        if isinstance(event, Output | Errors) and not event.data:
            return
        await self._writable.wait()
        self._transport.write(encode(event))

    async def end(self) -> None:
        """Wait until the asker has read it all and left: closing first could take back what was said last."""
        self._over = True
        self._heard.clear()
        self._transport.resume_reading()
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self.gone.wait()
        except TimeoutError:
            self._transport.abort()


def _weight(event: FromAsker) -> int:
    return _EVENT_BYTES + (len(event.data) if isinstance(event, Input) else 0)


@asynccontextmanager
async def upgraded(http: web.BaseRequest, response: web.StreamResponse) -> AsyncGenerator[AskersLine]:
    """The line that the connection of `http` becomes once `response`, a 101, has been sent."""
    response.headers.update({"Connection": "Upgrade", "Upgrade": PROTOCOL})
    http.protocol.keep_alive(False)
    await response.prepare(http)
    transport = http.transport
    if transport is None:
        raise ConnectionResetError
    keep_watch(transport.get_extra_info("socket"))
    line = AskersLine(transport, transport.get_protocol())
    transport.set_protocol(line)
    try:
        yield line
    finally:
        await line.end()
