"""The same requests, done in this process: no agent is needed on the machine one stands on.

The work runs on an event loop in a thread of its own; `perform` comes from `__main__`, the one place that
loads the host.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

from geard.exchange import Exit, Failed, FromAsker, Session, Talk, ToAsker
from geard.failures import Failure
from geard.frames import encode, from_asker
from geard.identifiers import RequestIds
from geard.request import Follow, Request, Stream, answer_type
from geard.transport.session import CHUNK, HttpSession

R = TypeVar("R")
T = TypeVar("T")


class Performer(Protocol):
    """What does requests here; made on the loop it will run on."""

    async def answer(self, request: Request[Any], id: str, follow: Follow | None) -> Any:
        """The answer, the items of a stream as an async iterator, or what a session does with its line."""
        ...


class LocalTransport:
    def __init__(self, make: Callable[[], Performer], request_id: str = "") -> None:
        self._make = make
        self._ids = RequestIds(request_id)
        self._performer: Performer | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="local work", daemon=True).start()

    def send(self, request: Request[R], *, follow: Follow | None = None) -> R:
        return cast(R, self.wait(self._perform(request, follow)))

    async def _perform(self, request: Request[Any], follow: Follow | None) -> Any:
        if self._performer is None:
            self._performer = self._make()
        answer = await self._performer.answer(request, self._ids.next(), follow)
        if answer_type(type(request)) is Session:
            ours, theirs = socket.socketpair()
            self._talks.add(task := asyncio.create_task(_talked(answer, theirs)))
            task.add_done_callback(self._talks.discard)
            return HttpSession(ours, "this machine")
        if isinstance(answer, AsyncIterator):
            return _LocalStream(self, answer)  # pyright: ignore[reportUnknownArgumentType]
        return answer

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Line:
    """See `Line`: one end of a pair of sockets, the asker holds the other."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._heard: asyncio.Queue[FromAsker] = asyncio.Queue()

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Until the asker has left."""
        decoder = from_asker()
        while data := await reader.read(CHUNK):
            for event in decoder.feed(data):
                self._heard.put_nowait(event)

    async def hear(self) -> FromAsker:
        return await self._heard.get()

    async def say(self, event: ToAsker) -> None:
        self._writer.write(encode(event))
        await self._writer.drain()


async def _talked(talk: Talk, end: socket.socket) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=end)
    line = _Line(writer)
    talking, listening = asyncio.ensure_future(talk(line)), asyncio.create_task(line.listen(reader))
    await asyncio.wait({talking, listening}, return_when=asyncio.FIRST_COMPLETED)
    for task in (talking, listening):
        task.cancel()
    status, _ = await asyncio.gather(talking, listening, return_exceptions=True)
    try:
        if isinstance(status, Failure):
            await line.say(Failed(status))
        elif isinstance(status, int):
            await line.say(Exit(status))
    except OSError:
        return  # the asker has left
    finally:
        writer.close()


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
