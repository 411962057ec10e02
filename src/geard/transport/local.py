"""The same requests, done in this process: no agent is needed on the machine one stands on.

The work runs on an event loop in a thread of its own; `perform` comes from `__main__`, the one place that
loads the host.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

from geard.identifiers import RequestIds
from geard.request import Follow, Request, Stream

R = TypeVar("R")
T = TypeVar("T")


class Performer(Protocol):
    """What does requests here; made on the loop it will run on."""

    async def answer(self, request: Request[Any], id: str, follow: Follow | None) -> Any:
        """The answer, or the items of a stream as an async iterator."""
        ...


class LocalTransport:
    def __init__(self, make: Callable[[], Performer], request_id: str = "") -> None:
        self._make = make
        self._ids = RequestIds(request_id)
        self._performer: Performer | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="local work", daemon=True).start()

    def send(self, request: Request[R], *, follow: Follow | None = None) -> R:
        return cast(R, self.wait(self._perform(request, follow)))

    async def _perform(self, request: Request[Any], follow: Follow | None) -> Any:
        if self._performer is None:
            self._performer = self._make()
        answer = await self._performer.answer(request, self._ids.next(), follow)
        if isinstance(answer, AsyncIterator):
            return _LocalStream(self, answer)  # pyright: ignore[reportUnknownArgumentType]
        return answer

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _LocalStream(Stream[Any]):
    def __init__(self, transport: LocalTransport, items: AsyncIterator[Any]) -> None:
        self._transport = transport
        self._items = items

    def __next__(self) -> Any:
        async def next_item() -> Any:
            return await anext(self._items, _END)

        item = self._transport.wait(next_item())
        if item is _END:
            raise StopIteration
        return item

    def close(self) -> None:
        async def close() -> None:
            closing = getattr(self._items, "aclose", None)
            if closing is not None:
                await closing()

        self._transport.wait(close())


_END = object()
