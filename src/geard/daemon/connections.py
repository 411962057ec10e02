"""Connections as such, whoever is at the other end: how many, how long over what, and how one is ended.

What a connection may take, and who is cut off:

- there are `CONNECTIONS` at once, half as many as files may be open where that is less; one more is told 503;
- `STRANGERS` of them may be those of askers who will be refused, each for `STRANGER_SECONDS`;
- a head has come `KEEP_ALIVE_SECONDS` after the last answer (or the beginning), a body `BODY_SECONDS` after it;
- who is sent something and reads nothing of it for `STALL_SECONDS` is let go;
- a head has at most `HEADERS` lines of `HEADER_SIZE` bytes, its first line 8,190.

A connection that is closed with something unread in it is reset, and the answer that was on its way may be lost
with that (RFC 9112, 9.6). So who is refused for what cannot be read as HTTP is told so first, and what he still
sends is read without a look until he ends, for `LINGER_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, web

from geard.daemon.forms import JSON_TYPE, encode_json, failure_body
from geard.failures import Failure, Full, Invalid
from geard.identifiers import new_request_id
from geard.transport.wire import REQUEST_ID

log = logging.getLogger(__name__)

CONNECTIONS = 4096
STRANGERS = 128
KEEP_ALIVE_SECONDS = 75.0
STRANGER_SECONDS = 10.0
BODY_SECONDS = 30.0
STALL_SECONDS = 600.0
LINGER_SECONDS = 5.0
HEADERS = 64
HEADER_SIZE = 4096
_READ_BYTES = 64 * 1024


class TooSlow(Invalid):
    """On the wire its kind is Invalid, its status 408."""

    @property
    def kind(self) -> str:
        return "Invalid"


class OtherVersion(Invalid):
    """Neither HTTP/1.1 nor 1.0. On the wire its kind is Invalid, its status 505."""

    @property
    def kind(self) -> str:
        return "Invalid"


def bound() -> int:
    """How many connections there may be: an agent without a free descriptor can do nothing at all."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, files // 2)


def check_head(http: web.BaseRequest) -> None:
    """Raises OtherVersion; Invalid for a target with another host (`GET http://…`) than Host names."""
    if http.version not in (HttpVersion11, HttpVersion10):
        raise OtherVersion("this agent speaks HTTP/1.1", hint="curl --http1.1")
    target = http.raw_path
    if not target.startswith("/") and "://" in target:
        named, hosts = target.partition("://")[2].split("/")[0], http.headers.getall("Host", [])
        if [named.lower()] != [host.lower() for host in hosts]:
            raise Invalid(f"the target is of {named[:80]}, the header Host is not", hint="say a path alone")


class Unreadable:
    """What the journal is told of it: a line a second at most, since anyone can send such things to loopback."""

    def __init__(self) -> None:
        self._until = 0.0
        self._untold = 0

    def tell(self, why: str) -> None:
        now = time.monotonic()
        if now < self._until:
            self._untold += 1
            return
        log.info("this is no HTTP: %s%s", why, f", and {self._untold} more" if self._untold else "")
        self._until, self._untold = now + 1, 0


_unreadable = Unreadable()


class Handler(web.RequestHandler):
    """aiohttp's half of a connection, with the bounds above."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(
            *given,
            **options,
            auto_decompress=False,  # a body is as large as it says
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_headers=HEADERS,
            max_field_size=HEADER_SIZE,
            read_bufsize=_READ_BYTES,
        )
        self._gone = asyncio.Event()
        self._stalled: asyncio.TimerHandle | None = None

    def hurry(self) -> None:
        """It is a stranger's. To be called before the connection is made known to aiohttp."""
        self._keepalive_timeout = STRANGER_SECONDS

    def take_time(self) -> None:
        """It is a stranger's no more."""
        self._keepalive_timeout = KEEP_ALIVE_SECONDS

    def connection_lost(self, exc: BaseException | None) -> None:
        self._gone.set()
        self._look_away()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self._loop.call_later(STALL_SECONDS, self._give_up)

    def resume_writing(self) -> None:
        self._look_away()
        super().resume_writing()

    def _look_away(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _give_up(self) -> None:
        log.info("a connection is ended: nothing was read of its answer for %g s", STALL_SECONDS)
        if self.transport is not None:
            self.transport.abort()

    def _make_error_handler(self, err_info: Any) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        make = super()._make_error_handler(err_info)

        async def tell(request: web.BaseRequest) -> web.StreamResponse:
            response = await make(request)
            await response.prepare(request)
            await response.write_eof()
            self.close()  # what comes now is not looked at
            if self.transport is not None and self.transport.can_write_eof():
                self.transport.write_eof()
            try:
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._gone.wait()
            except TimeoutError:
                pass
            return response

        return tell

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What cannot be read as HTTP, before anybody here has seen it: anyone may send that to loopback, so the
        journal is told in one line, and the answer has the form of every other.
        """
        left = isinstance(exc, ConnectionError)  # in the middle of its question: nobody reads this
        if status >= 500 and not left:
            return super().handle_error(request, status, exc, message)
        lines = (message or "").strip().splitlines() or [type(exc).__name__]
        why = "it ended before its end" if left else lines[0][:120].rstrip(":")
        status = 400 if left else status
        if not left:
            _unreadable.tell(why)
        headers, body = _refusal(Invalid(f"this cannot be read as HTTP: {why}"))
        response = web.Response(status=status, body=body, headers=headers)
        response.force_close()
        return response


class Strangers:
    """Connections of those who will be refused as things stand: a few at a time, and not for long."""

    def __init__(self) -> None:
        self._kept = set[web.RequestHandler]()
        self._turned_away = set[web.RequestHandler]()

    @property
    def leaving(self) -> int:
        """How many have been turned away and are not quite gone yet."""
        return len(self._turned_away)

    def take(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """To be called before aiohttp knows the connection."""
        if len(self._kept) >= STRANGERS:
            self._turned_away.add(handler)
            asyncio.get_running_loop().call_soon(transport.abort)  # not at once: aiohttp is about to begin with it
            return
        self._kept.add(handler)
        if isinstance(handler, Handler):
            handler.hurry()

    def forget(self, handler: web.RequestHandler) -> None:
        """It is gone, or turned out to be no stranger's."""
        self._kept.discard(handler)
        if isinstance(handler, Handler):
            handler.take_time()
        self._turned_away.discard(handler)


class Overflow(asyncio.Protocol):
    """A connection beyond `bound`: it is told so, unread, and ended."""

    def __init__(self) -> None:
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        headers, body = _refusal(
            Full("too many connections are open", hint="close some, or try again in a moment")
        )
        headers |= {"Content-Length": str(len(body)), "Retry-After": "1", "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        transport.write(f"HTTP/1.1 503 Service Unavailable\r\n{head}\r\n".encode() + body)
        if transport.can_write_eof():
            transport.write_eof()
        self._end = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()


def _refusal(failure: Failure) -> tuple[dict[str, str], bytes]:
    id = new_request_id()
    headers = {REQUEST_ID: id, "Server": "geard", "Content-Type": JSON_TYPE}
    return headers, encode_json(failure_body(failure, id))
