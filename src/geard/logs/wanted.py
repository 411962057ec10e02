"""What a request for a log asks for, in the journal's terms. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import time_ns
from typing import Protocol

from geard.failures import Invalid
from geard.host.journal import Span
from geard.logs.times import microseconds, parse_duration, parse_moment

# What a log is without a word more; the README: "will end after 30 seconds".
USUAL = timedelta(seconds=30)
USUAL_LINES = 10

_CURSOR = re.compile(r"[a-z]=[0-9a-f]+(;[a-z]=[0-9a-f]+)*", re.ASCII)


class Question(Protocol):
    """What requests for logs and for events have in common."""

    @property
    def follow(self) -> bool | None: ...
    @property
    def timeout(self) -> str: ...
    @property
    def since(self) -> str: ...
    @property
    def until(self) -> str: ...
    @property
    def after(self) -> str: ...


@dataclass(frozen=True)
class Wanted:
    span: Span
    seconds: float | None
    """how long to follow: None is for ever, 0 not at all"""


class Beginning:
    """Which entries, as they come in the journal's order, are not from before that time (microseconds since 1970).

    The clock may have been set back: behind one that is not, none is, and a time that is yet to come tells
    nothing.
    """

    def __init__(self, at: int) -> None:
        self._at = at
        self._is_past = False

    def is_past(self, time: int, now: int | None = None) -> bool:
        now = time_ns() // 1_000 if now is None else now
        self._is_past = self._is_past or not time < self._at <= now
        return self._is_past


def parse_wanted(request: Question, now: datetime, lines: str = "") -> Wanted:
    """Raises Invalid."""
    until = parse_moment(request.until, now) if request.until else None
    seconds = _seconds(request)
    if until is not None:
        left = max(0.0, (until - now).total_seconds())
        seconds = left if seconds is None else min(seconds, left)
    if not (lines or request.since or request.until or request.after):
        return Wanted(Span(since=microseconds(now - USUAL), at_least=USUAL_LINES), seconds)
    if request.after and not _CURSOR.fullmatch(request.after):
        raise Invalid(f"{request.after!r} is no cursor", hint="take the Cursor of a line")
    span = Span(
        lines=parse_lines(lines),
        since=microseconds(parse_moment(request.since, now)) if request.since else None,
        until=None if until is None else microseconds(until),
        after=request.after,
    )
    return Wanted(span, seconds)


def parse_lines(text: str) -> int | None:
    """How many; None for all. Raises Invalid."""
    if text in ("", "all"):
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Invalid(f"{text!r} is no number of lines", hint="a number, or all")
    return int(text)


def _seconds(request: Question) -> float | None:
    if request.follow is False:
        return 0
    if request.timeout:
        return parse_duration(request.timeout).total_seconds()
    return None if request.follow else USUAL.total_seconds()
