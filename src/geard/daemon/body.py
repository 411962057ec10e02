"""The body of a question: whole, or as it comes. One that does not come is waited for so long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from aiohttp import HttpVersion11, web

from geard.daemon.connections import BODY_SECONDS, STALL_SECONDS, TooSlow
from geard.failures import TooLarge
from geard.transport.wire import BODY_LIMIT


async def welcome(http: web.BaseRequest) -> None:
    """For an asker that sends its body only when it is told to."""
    if http.headers.get("Expect", "").lower() == "100-continue" and http.version == HttpVersion11:
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0  # what counts is the answer


async def read_body(http: web.BaseRequest) -> bytes:
    """Raises TooLarge, TooSlow."""
    if (http.content_length or 0) > BODY_LIMIT:
        raise _too_large()
    await welcome(http)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in http.content.iter_any():
                body += chunk
                if len(body) > BODY_LIMIT:
                    raise _too_large()
    except TimeoutError:
        raise _not_come() from None
    return bytes(body)


async def read_pieces(http: web.BaseRequest) -> AsyncGenerator[bytes]:
    """Raises TooSlow, and what aiohttp raises where it breaks off."""
    await welcome(http)
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                piece = await http.content.readany()
        except TimeoutError:
            raise TooSlow(f"nothing more of the body has come within {STALL_SECONDS:g} s") from None
        if not piece:
            return
        yield piece


async def has_body(http: web.BaseRequest) -> bool:
    """Raises TooSlow for one that is announced without a length, and does not come."""
    if http.content_length or not http.body_exists:
        return bool(http.content_length)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return bool(await http.content.read(1))
    except TimeoutError:
        raise _not_come() from None


def _too_large() -> TooLarge:
    return TooLarge(f"the body is larger than {BODY_LIMIT} bytes")


def _not_come() -> TooSlow:
    return TooSlow(f"the body has not come within {BODY_SECONDS:g} s of its head")
