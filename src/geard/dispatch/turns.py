"""Slow work in bounded numbers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

TURN_SECONDS = 5.0
"""who takes longer waits for something (a registry, a program's end) and makes way for the next"""


class Turns:
    """So many at once, in the order they came. `limit` is asked each time: settings change."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[asyncio.Event] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, queued: Callable[[bool], None]) -> AsyncGenerator[None]:
        """Tells `queued` where it has to wait, and when that is over."""
        if self._taken >= self._limit() or self._waiting:
            queued(True)
            await self._wait()
            queued(False)
        else:
            self._taken += 1
        given_back = False

        def give_back() -> None:
            nonlocal given_back
            if not given_back:
                given_back = True
                self._taken -= 1
                self._let_in()

        making_way = asyncio.get_running_loop().call_later(TURN_SECONDS, give_back)
        try:
            yield
        finally:
            making_way.cancel()
            give_back()

    async def _wait(self) -> None:
        here = asyncio.Event()
        self._waiting.append(here)
        try:
            await here.wait()
        except asyncio.CancelledError:
            if here.is_set():
                self._taken -= 1
                self._let_in()
            else:
                self._waiting.remove(here)
            raise

    def _let_in(self) -> None:
        while self._waiting and self._taken < self._limit():
            self._taken += 1
            self._waiting.popleft().set()


class Orders:
    """One at a time for each subject, in the order they came; subjects do not wait for each other."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """Each subject has one that is at work; the others wait for it."""
        return sum(self._users.values()) - len(self._users)

    @asynccontextmanager
    async def one_of(self, subject: str, queued: Callable[[bool], None]) -> AsyncGenerator[None]:
        """An empty subject waits for nobody."""
        if not subject:
            yield
            return
        lock = self._locks.setdefault(subject, asyncio.Lock())
        self._users[subject] = self._users.get(subject, 0) + 1
        waits = lock.locked()
        if waits:
            queued(True)
        try:
            async with lock:
                if waits:
                    queued(False)
                yield
        finally:
            self._users[subject] -= 1
            if not self._users[subject]:
                del self._users[subject], self._locks[subject]
