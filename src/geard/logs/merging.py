"""Several series in one order of time, also while they go on. Pure: what the time is, is told.

A line may go as soon as every other series has shown a later one or has ended. A series that has nothing to
show would hold up the rest, so there is a limit: short for one that is known to have reached the present,
longer for one that may still be telling of the past, longest for one that has not said anything yet.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

# Two agents' lines of the same instant arrive so far apart: a poll (10 ms) and a network between cities.
LIVE_SECONDS = 0.05
PAST_SECONDS = 0.3
SILENT_SECONDS = 1.5


class Merge(Generic[T]):
    """`stamp`s order the items; those of one series stay in its own order whatever they say."""

    def __init__(self, series: int, now: float) -> None:
        self._waiting: list[deque[tuple[str, float, T]]] = [deque() for _ in range(series)]
        self._open = set(range(series))
        self._quiet_until = [now + SILENT_SECONDS] * series
        self._live: set[int] = set()

    @property
    def done(self) -> bool:
        return not self._open and not any(self._waiting)

    def put(self, series: int, stamp: str, item: T, now: float, *, live: bool = False) -> None:
        """The next of a series; `live`, it is younger than the question."""
        self._waiting[series].append((stamp, now, item))
        self._quiet_until[series] = now + PAST_SECONDS
        if live:
            self._live.add(series)

    def end(self, series: int) -> None:
        self._open.discard(series)

    def take(self, now: float) -> list[tuple[int, T]]:
        """What may go now, in order, each with the number of its series."""
        heads = [(waiting[0][0], series) for series, waiting in enumerate(self._waiting) if waiting]
        heapq.heapify(heads)
        taken: list[tuple[int, T]] = []
        while heads:
            _, series = heads[0]
            waiting = self._waiting[series]
            if self._must_wait(waiting[0][1], now):
                break
            taken.append((series, waiting.popleft()[2]))
            if waiting:
                heapq.heapreplace(heads, (waiting[0][0], series))
            else:
                heapq.heappop(heads)
        return taken

    def due(self, now: float) -> float | None:
        """In how many seconds to `take` again if nothing comes before; None where nothing waits."""
        arrivals = [waiting[0][1] for waiting in self._waiting if waiting]
        if not arrivals:
            return None
        return max(0.0, max(self._release(min(arrivals), series) for series in self._silent()) - now)

    def _must_wait(self, arrived: float, now: float) -> bool:
        return any(now < self._release(arrived, series) for series in self._silent())

    def _silent(self) -> list[int]:
        return [series for series in self._open if not self._waiting[series]]

    def _release(self, arrived: float, series: int) -> float:
        """When a line that came at `arrived` need no longer wait for `series`."""
        if series in self._live:
            return arrived + LIVE_SECONDS
        return max(arrived + LIVE_SECONDS, self._quiet_until[series])
