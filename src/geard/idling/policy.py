"""When a gear falls asleep by itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from geard.failures import Invalid
from geard.idling.requests import Depth, IdlePolicy
from geard.logs.times import parse_duration

LEAST = 60
"""seconds: never sooner after a start, a wake or a connection"""
MOST = 366 * 86_400


def parse_after(text: str) -> int:
    """Seconds; 0 for never. Raises Invalid."""
    if text.strip() in ("never", "0"):
        return 0
    return check_after(round(parse_duration(text).total_seconds()))


def check_after(seconds: int) -> int:
    """Raises Invalid."""
    if seconds and not LEAST <= seconds <= MOST:
        raise Invalid(
            f"no gear falls asleep after {seconds} s", hint="a minute at least, a year at most; or never"
        )
    return seconds


def describe_after(seconds: int) -> str:
    """As it is written: 15m."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def decide(asked: IdlePolicy, after: int, depth: Depth) -> tuple[int, Depth]:
    """What holds for a gear, with what the machine's settings say beside it."""
    return (after if asked.after is None else asked.after), asked.depth or depth


@dataclass(frozen=True)
class Seen:
    """What the kernel says of a gear at one look."""

    pid: int
    """of its program: another one is another run"""
    accepted: int
    """connections that its network has taken in so far"""
    open: int
    """… and that are there now, to its published ports"""


class Quiet:
    """Since when each gear has had nothing to do, by looks at it."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[Seen, float]] = {}

    def look(self, id: str, seen: Seen, now: float, *, busy: bool) -> float:
        """For how many seconds it has been quiet. A change between two looks counts from the second."""
        before = self._since.get(id)
        if before is None or before[0] != seen or seen.open or busy:
            self._since[id] = seen, now
            return 0.0
        return now - before[1]

    def keep(self, ids: set[str]) -> None:
        """Forget the others."""
        self._since = {id: known for id, known in self._since.items() if id in ids}
