"""A stream that goes on where it was when its agent is restarted, or the way to it was cut for a while."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Protocol, TypeVar

import click

from geard.failures import TimedOut, Unavailable
from geard.request import Stream
from geard.transport import ConnectionBroken

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""seconds between tries, the last one again and again"""
GIVE_UP_SECONDS = 600.0


class Item(Protocol):
    @property
    def cursor(self) -> str: ...


T = TypeVar("T", bound=Item)
F = TypeVar("F", bound=Callable[..., Any])
Open = Callable[[str, str], Stream[T]]
"""`open(after, since)`: with neither, as it was asked; else what followed the item of that cursor, or that time"""


def reconnect_option(command: F) -> F:
    """Adds `--no-reconnect`, passed on as `no_reconnect`."""
    return click.option(
        "--no-reconnect", is_flag=True, help="With --follow: end where the connection to the agent breaks."
    )(command)


def resumed(open: Open[T], name: str) -> Generator[T]:
    """The items of a stream that is followed, each once, over breaks of the connection. `name` is the agent's.

    Raises what the agent refuses, and Unavailable where it is not there at first, or not again for ten minutes.
    """
    after, began = "", f"@{time.time():.6f}"
    stream: Stream[T] | None = None
    while True:
        try:
            stream = stream or open("", "")
            with closing(stream):
                for item in stream:
                    after = item.cursor or after
                    yield item
            return
        except ConnectionBroken as broken:
            click.echo(f"{broken.message}; connecting again", err=True)
        stream = _again(open, name, after, "" if after else began)


def _again(open: Open[T], name: str, after: str, since: str) -> Stream[T]:
    give_up = time.monotonic() + GIVE_UP_SECONDS
    for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
        time.sleep(pause)
        try:
            stream = open(after, since)
        except (Unavailable, TimedOut):
            if time.monotonic() > give_up:
                raise
            continue
        click.echo(f"connected to {name or 'the agent'} again", err=True)
        return stream
    raise AssertionError("the pauses have no end")
