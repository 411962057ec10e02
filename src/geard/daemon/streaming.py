"""An answer that goes on: from which item (`take_cursor`), for how long nobody need read it (`Stall`)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from geard.failures import Invalid

LAST_EVENT_ID = "Last-Event-ID"
CURSOR_LIMIT = 300

PARTS = 16
STALL_SECONDS = 60.0
"""an asker that takes nothing for so long is cut off: it knows the cursor of what it took last"""


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


def steps_of(cursor: str) -> int:
    """How many steps of a report the asker has had. Raises Invalid."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
        raise Invalid(
            f"{cursor!r} is no step of a report", hint="its cursors are the numbers of its steps: 0, 1, 2, …"
        )
    return int(cursor)


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
