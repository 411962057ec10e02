"""What the agent counts while it answers: two additions a request; `exposition` says what they mean to Prometheus.

The names in it are routes, never paths: however many ids are asked for, it stays as large as the API is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""seconds; the budget of an answer is 0.0025, the most a client should wait for one 10"""
OTHER = ("other", "")
"""method and route of what is no route here"""

Name = tuple[str, str]
"""method and the route's path"""


class Durations:
    """How many took how long, in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


class Tally:
    def __init__(self) -> None:
        self.answered: Counter[tuple[Name, int]] = Counter()
        """by name and status"""
        self.durations: defaultdict[Name, Durations] = defaultdict(Durations)
        """from the question's head to the answer's"""
        self.open: Counter[Name] = Counter()
        """questions whose answers have not ended: streams, and reports that are followed, are long among them"""

    def begins(self, name: Name) -> None:
        self.open[name] += 1

    def ends(self, name: Name) -> None:
        self.open[name] -= 1

    def answers(self, name: Name, status: int, seconds: float) -> None:
        self.answered[name, status] += 1
        self.durations[name].add(seconds)
