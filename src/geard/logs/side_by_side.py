"""Several series read at once and told in one order of time, each by a thread that ends with it or the program."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from geard.cli.asking import tell
from geard.failures import Failure
from geard.logs.merging import Merge

AHEAD = 1_000  # items of one series that may wait for those of others


class Timed(Protocol):
    @property
    def time(self) -> str:
        """RFC 3339"""
        ...


T = TypeVar("T", bound=Timed)


def side_by_side(series: Sequence[tuple[str, Callable[[], Iterable[T]]]]) -> Iterator[tuple[int, T]]:
    """The items of all, each with the number of its series, which are given with their names.

    What one fails with is told, and the others go on. A single one is read without a thread, so that Ctrl-C ends
    the wait at once; what that fails with is raised.
    """
    if len(series) == 1:
        for only in series[0][1]():
            yield 0, only
        return
    news: queue.SimpleQueue[tuple[int, T | Failure | None]] = queue.SimpleQueue()
    ahead = [threading.BoundedSemaphore(AHEAD) for _ in series]

    def read(number: int) -> None:
        try:
            for item in series[number][1]():
                ahead[number].acquire()
                news.put((number, item))
        except Failure as failure:
            news.put((number, failure))
        finally:
            news.put((number, None))

    asked = datetime.now().astimezone()
    merge = Merge[T](len(series), time.monotonic())
    for number, (name, _) in enumerate(series):
        threading.Thread(target=read, args=(number,), name=f"reading {name}", daemon=True).start()
    while not merge.done:
        for number, item in _next(news, merge.due(time.monotonic())):
            if item is None:
                merge.end(number)
            elif isinstance(item, Failure):
                tell(item, series[number][0])
            else:
                live = datetime.fromisoformat(item.time) >= asked
                merge.put(number, item.time, item, time.monotonic(), live=live)
        for number, next_one in merge.take(time.monotonic()):
            ahead[number].release()
            yield number, next_one


def _next(
    news: queue.SimpleQueue[tuple[int, T | Failure | None]], patience: float | None
) -> list[tuple[int, T | Failure | None]]:
    """All that has come, waiting for the first so long."""
    found: list[tuple[int, T | Failure | None]] = []
    try:
        found.append(news.get(timeout=patience))
        while True:
            found.append(news.get_nowait())
    except queue.Empty:
        return found
