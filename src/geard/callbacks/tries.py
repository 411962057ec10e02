"""When a callback is tried, and what a try's answer means. Pure."""

from __future__ import annotations

import random

import msgspec

from geard.callbacks.outbox import Entry
from geard.host.fetch import Reply

TRIES = 42
"""with the pauses below about a day; a machine that is down meanwhile uses none up"""
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 3_600.0
GONE = 410


def pause(tries: int) -> float:
    """Seconds after so many tries: 5, 10, 20, … an hour, each up to a half less, so that not all come at once."""
    return min(FIRST_PAUSE * 2.0 ** min(tries - 1, 30), LONGEST_PAUSE) * random.uniform(0.5, 1)


def delivered(reply: Reply) -> bool:
    return 200 <= reply.status < 300


def problem_of(reply: Reply) -> str:
    if 300 <= reply.status < 400:
        return f"it answered {reply.status}, and redirects are not followed"
    return f"it answered {reply.status} {reply.reason}".rstrip()


def after(entry: Entry, problem: str, now: float, reply: Reply | None = None) -> Entry:
    """The entry after a try that failed; a receiver that is gone (410) is not asked again."""
    tries = entry.tries + 1
    dead = tries >= TRIES or (reply is not None and reply.status == GONE)
    wait = max(pause(tries), _asked_for(reply))
    return msgspec.structs.replace(entry, tries=tries, problem=problem, dead=dead, next_try=now + wait)


def anew(entry: Entry, now: float) -> Entry:
    return msgspec.structs.replace(entry, tries=0, dead=False, next_try=now)


def due(entry: Entry, now: float) -> bool:
    """A clock that was put back makes nobody wait longer than the longest pause."""
    return entry.state == "waiting" and not now < entry.next_try <= now + LONGEST_PAUSE


def _asked_for(reply: Reply | None) -> float:
    """Retry-After in seconds (RFC 9110, 10.2.3), an hour at most; a date counts as nothing."""
    text = reply.retry_after.strip() if reply is not None else ""
    return min(float(text), LONGEST_PAUSE) if text.isascii() and text.isdigit() and len(text) < 9 else 0
