"""When a timer fires: systemd alone says what an expression means."""

from __future__ import annotations

import re

from geard.containers.quoting import check_text
from geard.failures import Invalid
from geard.host.process import run

ANALYZE = "/usr/bin/systemd-analyze"
LONGEST = 200
_NORMALIZED = re.compile(r"^\s*Normalized form: ([ -~]+)$", re.MULTILINE)


async def normalized(schedule: str) -> str:
    """As systemd writes it. Raises Invalid where it cannot be read, or will never be."""
    check_text(schedule, "the schedule")
    hint = "such as 'Mon..Fri 03:00', hourly, '*:0/15': man systemd.time, CALENDAR EVENTS"
    if not schedule.strip() or len(schedule) > LONGEST or "\n" in schedule:
        raise Invalid(f"{schedule[:60]!r} is no schedule", hint=hint)
    argv = [ANALYZE, "calendar", "--iterations=1", "--", schedule]
    said = await run(argv, check=False)
    found = _NORMALIZED.search(said.output)
    if said.status or (found is None and "Normalized form" not in said.output):
        # It prints the normalized form only where that is another.
        raise Invalid(f"systemd does not know the schedule {schedule!r}", hint=hint)
    if re.search(r"Next elapse: never", said.output):
        raise Invalid(f"the schedule {schedule!r} is over: it never comes again", hint=hint)
    assert found is not None
    return found[1].strip()
