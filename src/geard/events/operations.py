"""Events, read and followed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.events.entries import MESSAGES
from geard.events.reading import RUN_UP, Reading
from geard.events.requests import Event, FollowEvents
from geard.host.journal import Span
from geard.host.journal_reader import Missed
from geard.identifiers import check_id
from geard.logs.lines import render_time
from geard.logs.wanted import Beginning, parse_wanted


@operation
async def follow_events(request: FollowEvents, work: Work) -> AsyncIterator[Event]:
    gears = frozenset(check_id(name) for name in request.names())
    kinds = frozenset(kind.strip() for kind in request.kind.split(",") if kind.strip())
    started = asyncio.get_running_loop().time()
    wanted = parse_wanted(request, datetime.now().astimezone())
    span = wanted.span
    entries = work.host.journal.entries(
        MESSAGES,
        _from_before(span),
        follow=wanted.seconds != 0,
        deadline=None if wanted.seconds is None else started + wanted.seconds,
    )
    reading, behind, since = Reading(), not span.after, Beginning(span.since or 0)
    async with aclosing(entries):
        async for entry in entries:
            if isinstance(entry, Missed):
                behind = True
                yield _missed(entry)
                continue
            event = reading.read(entry)
            if not behind:
                behind = entry.cursor == span.after
                continue
            if not since.is_past(entry.time) or event is None:
                continue
            if (not gears or event.id in gears) and (not kinds or event.kind in kinds):
                yield event


def _from_before(span: Span) -> Span:
    """So much earlier that the first event is read with what was said just before it."""
    if span.after:
        return replace(span, run_up=RUN_UP)
    return Span(since=max(0, (span.since or 0) - RUN_UP), until=span.until)


def _missed(missed: Missed) -> Event:
    how_many = f"{missed.count} entries" if missed.count else "what followed the cursor's event, if anything did,"
    why = "came faster than they were read" if missed.count else "is no longer in the journal"
    return Event(time=render_time(time.time_ns() // 1_000), kind="missed", message=f"{how_many} {why}")
