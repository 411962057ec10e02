"""Logs, read and followed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import no_such_gear
from geard.host.journal_reader import Entry, Missed
from geard.host.storage import read_text
from geard.identifiers import bucket, check_id
from geard.logs.lines import created, render_time
from geard.logs.requests import FollowLog, LogLine
from geard.logs.wanted import Beginning, parse_wanted


@operation
async def follow_log(request: FollowLog, work: Work) -> AsyncIterator[LogLine]:
    unit = f"ctr-{check_id(request.id)}.service"
    now = datetime.now().astimezone()
    started = asyncio.get_running_loop().time()
    wanted = parse_wanted(request, now, request.lines)
    text = await work.on_disk(read_text, work.host.paths.base / "units" / bucket(request.id) / unit)
    if text is None:
        raise no_such_gear(request.id)
    # Lines of an earlier gear of that name are shown to who asks for their time, and else to nobody.
    born = Beginning(0 if request.since or request.until or request.after else created(text))
    entries = work.host.journal.entries(
        unit,
        wanted.span,
        follow=wanted.seconds != 0,
        deadline=None if wanted.seconds is None else started + wanted.seconds,
    )
    async with aclosing(entries):
        async for entry in entries:
            if isinstance(entry, Entry) and (not born.is_past(entry.time) or entry.only_names(unit)):
                continue
            yield _skipped(entry, request.id) if isinstance(entry, Missed) else _line(entry, request.id)


def _line(entry: Entry, id: str) -> LogLine:
    return LogLine(
        time=render_time(entry.time),
        id=id,
        message=entry.message,
        priority=entry.priority,
        identifier=entry.identifier,
        pid=entry.pid,
        cursor=entry.cursor,
    )


def _skipped(missed: Missed, id: str) -> LogLine:
    if missed.count:
        message = f"{missed.count} lines were skipped: they came faster than they were read"
    else:
        message = "lines are missing here, it is not known how many: the journal has the cursor's line no more"
    return LogLine(
        time=render_time(time.time_ns() // 1_000),
        id=id,
        message=message,
        priority=4,
        identifier="geard",
        skipped=missed.count or -1,
    )
