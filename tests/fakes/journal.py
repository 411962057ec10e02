"""A journal whose entries are in memory."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping

from geard.failures import Invalid
from geard.host.journal import Journal, Span
from geard.host.journal_reader import Entry, Messages, Missed, What


class FakeJournal(Journal):
    def __init__(self) -> None:
        self._entries: defaultdict[What, list[Entry]] = defaultdict(list)

    def add(self, unit: str, message: str, identifier: str = "program", pid: int = 7) -> None:
        now = time.time_ns() // 1_000
        number = len(self._entries[unit])
        entry = Entry(now, f"s=fa4e;i={number:x};t={now:x}", message, identifier=identifier, pid=pid)
        self._entries[unit].append(entry)

    def tell(self, fields: Mapping[str, str]) -> None:
        """What would be an entry of some kind: here they are all of one."""
        now, number = time.time_ns() // 1_000, len(self.messages)
        self.messages.append(
            Entry(now, f"s=fa4e;i={number:x};t={now:x}", fields.get("MESSAGE", ""), fields=fields)
        )

    @property
    def messages(self) -> list[Entry]:
        return self._entries[""]

    async def entries(
        self, what: What, span: Span, *, follow: bool = False, deadline: float | None = None
    ) -> AsyncGenerator[Entry | Missed, None]:
        # A copy of `get` and not of `[]`: asking about a unit does not make it known.
        key = "" if isinstance(what, Messages) else what
        there = self._entries.get(key, [])
        at = self._first(there, span)
        while True:
            for entry in list(there[at:]):
                at += 1
                if span.until is None or entry.time <= span.until:
                    yield entry
            if not follow or (deadline is not None and asyncio.get_running_loop().time() >= deadline):
                return
            await asyncio.sleep(0.002)
            there = self._entries.get(key, [])

    @property
    def readers(self) -> int:
        return 0

    def _first(self, entries: list[Entry], span: Span) -> int:
        """The number of the first entry that is wanted."""
        first = 0
        if span.after:
            if "i=" not in span.after:
                raise Invalid(f"{span.after!r} is no cursor", hint="take the Cursor of a line")
            found = next((n for n, entry in enumerate(entries) if entry.cursor == span.after), None)
            first = 0 if found is None or span.run_up else found + 1
        if span.since is not None:
            first = max(first, sum(entry.time < span.since for entry in entries))
        if span.lines is not None:
            first = max(first, len(entries) - span.lines)
        return first
