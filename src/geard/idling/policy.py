"""When a gear falls asleep by itself, and who may wake it. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from geard.failures import Invalid
from geard.idling.requests import Depth, IdlePolicy
from geard.logs.times import parse_duration

LEAST = 60
"""seconds: never sooner after a start, a wake or a connection"""
MOST = 366 * 86_400
SOURCES = 64


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


def parse_span(text: str) -> tuple[int, int] | None:
    """22:00-06:00 as minutes of the day; None for never. Raises Invalid."""
    if text.strip() in ("", "never"):
        return None
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", text.strip(), re.ASCII)
    span = (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (0, 0)
    if span[0] == span[1]:
        raise Invalid(f"{text!r} is no span of the day", hint="as 22:00-06:00, by this machine's clock; or never")
    return span


def within(span: tuple[int, int] | None, minute: int) -> bool:
    """Whether that minute of the day is in it; one that ends before it begins goes over midnight."""
    if span is None:
        return False
    begin, end = span
    return begin <= minute < end if begin < end else not end <= minute < begin


def check_sources(texts: Sequence[str]) -> tuple[str, ...]:
    """Networks, as they are written down. Raises Invalid."""
    if len(texts) > SOURCES:
        raise Invalid(f"{len(texts)} networks that may wake a gear", hint=f"{SOURCES} at most")
    try:
        return tuple(str(ipaddress.ip_network(text, strict=False)) for text in texts)
    except ValueError as error:
        raise Invalid(f"no network: {error}", hint="as 10.0.0.0/8 or fd00::/8, or one address") from None


def check_interfaces(names: Sequence[str]) -> tuple[str, ...]:
    """Names of network interfaces; a `*` at the end stands for any rest. Raises Invalid."""
    if len(names) > SOURCES:
        raise Invalid(f"{len(names)} interfaces by which a gear may be woken", hint=f"{SOURCES} at most")
    for name in names:
        # Which names the kernel takes, but for signs that nobody uses; these four mean something else there.
        known = re.fullmatch(r"[A-Za-z0-9_.@+-]{1,15}|[A-Za-z0-9_.@+-]{0,14}\*", name, re.ASCII)
        if not known or name in (".", "..", "all", "default"):
            raise Invalid(
                f"{name!r} is no name of a network interface", hint="as eth0, 15 letters at most; wg* for all such"
            )
    return tuple(names)


@dataclass(frozen=True)
class Machine:
    """What an admin settled for all gears, as far as it concerns one."""

    after: int = 0
    depth: Depth = "stop"
    asleep: str = ""


def decide(asked: IdlePolicy, machine: Machine, minute: int) -> tuple[int, Depth]:
    """What holds for a gear at that minute of the day: seconds, 0 for never; and how."""
    depth = asked.depth or machine.depth
    if within(parse_span(machine.asleep if asked.asleep is None else asked.asleep), minute):
        return LEAST, depth
    return (machine.after if asked.after is None else asked.after), depth


@dataclass(frozen=True)
class Seen:
    """What the kernel says of a gear at one look."""

    pid: int
    """of its program: another one is another run"""
    accepted: int
    """connections that its network has taken in so far; datagrams too, where those wake it"""
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
