"""A mutating request that was accepted, as those see it who asked: its answer, then its report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from geard.dispatch.record import Heading, Line, Owed, Record, Told
from geard.dispatch.records import Hold
from geard.failures import Conflict, Failure, Full
from geard.request import Answer, Progress
from geard.words import builtins_of

REPORT_BYTES = 64 * 1024
"""of a report are kept; of what is beyond that only what came of it, and as much again"""


class Running:
    """For any number of askers. With a `hold`, all that is said goes on record too, before anybody is told."""

    def __init__(self, heading: Heading, hold: Hold | None = None) -> None:
        self.heading = heading
        self.hold = hold
        self.steps: list[Progress] = []
        self.failure: Failure | None = None
        self.owed: Sequence[Owed] = ()
        self.resumable = False
        """what is left of it, another process can do"""
        self.left = False
        """this process does no more for it, and it has not ended"""
        self._answer: Any = None
        self._answered = asyncio.Event()
        self._ended = False
        self._size = 0
        self._changed = asyncio.Event()

    @property
    def id(self) -> str:
        return self.heading.id

    @property
    def is_answered(self) -> bool:
        return self._answered.is_set()

    @property
    def ended(self) -> bool:
        return self._ended

    async def answer(self) -> Any:
        """Raises the Failure that it ended with instead. Who leaves meanwhile ends nothing."""
        # An event, no future behind a shield: who waits goes on in the next turn of the loop, not the one after.
        await self._answered.wait()
        if isinstance(self._answer, Failure):
            raise self._answer
        return self._answer

    async def report(self) -> AsyncIterator[Progress]:
        """Every step from the first; ends with the report, raising the Failure that ended it, if one did."""
        seen = 0
        while True:
            changed = self._changed
            while seen < len(self.steps):
                yield self.steps[seen]
                seen += 1
            if self._ended or self.left:
                break
            await changed.wait()
        if self.left:
            raise LeftError(self.id)
        if self.failure is not None:
            raise self.failure

    def answered(self, answer: Answer | Failure, owed: Sequence[Owed] = ()) -> None:
        self.owed = owed
        if not isinstance(answer, Failure):
            secret = self.heading.secret_answer
            told = None if secret else builtins_of(answer)
            self._write(Line(answer=told, withheld=secret, owed=tuple(owed), lost=not self.resumable))
        self._answer = answer
        self._answered.set()

    def add(self, step: Progress) -> None:
        size = self._size + 100 + len(step.message)
        if size > (2 * REPORT_BYTES if step.result else REPORT_BYTES):
            return
        self._size = size
        self._write(Line(step=step))
        self.steps.append(step)
        self._wake()

    def queued(self, waits: bool) -> None:
        self._write(Line(queued=waits))

    def end(self, failure: Failure | None) -> None:
        told = Told.of(failure) if failure is not None else None
        self._write(Line(ended=time.time(), failure=told))
        if self.hold is not None:
            self.hold.close()
        self.failure, self._ended = failure, True
        self._wake()

    def leave(self) -> None:
        """This process is going: what is left of it is for the next."""
        if self.hold is not None:
            self.hold.close()
        self.left = True
        if not self._answered.is_set():
            self._answer = LeftError(self.id)
            self._answered.set()
        self._wake()

    def unlisted(self) -> None:
        """It was refused for load: its id is not used up."""
        if self.hold is not None:
            self.hold.discard()
            self.hold = None

    def restore(self, record: Record, kind: Any) -> None:
        """What the record says; `kind` is the answer's."""
        for step in record.steps:
            self._size += 100 + len(step.message)
            self.steps.append(step)
        if record.answered:
            self.owed = record.owed
            self._answer = self._read_answer(record, kind)
            self._answered.set()
        if record.ended is not None:
            self.failure, self._ended = record.failure, True
            if not self._answered.is_set():
                self._answer = record.failure or LeftError(self.id)
                self._answered.set()

    def take(self, line: Line, kind: Any) -> None:
        """A line that another process wrote."""
        seen = Record(self.heading)
        seen.take(line)
        self.restore(seen, kind)
        self._wake()

    def _read_answer(self, record: Record, kind: Any) -> Any:
        if record.withheld:
            return Conflict(
                f"request {self.id} was answered, and its answer is a secret that is given once",
                hint="take a new id",
            )
        try:
            return msgspec.convert(record.answer, kind)
        except msgspec.ValidationError:
            return Conflict(
                f"request {self.id} was answered by another version of geard, in words that are not known here",
                hint="take a new id",
            )

    def _write(self, line: Line) -> None:
        if self.hold is not None:
            self.hold.add(line)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class LeftError(Full):
    """Who did this is stopping; the next goes on with it. The id is not used up."""

    def __init__(self, id: str) -> None:
        super().__init__(
            "geard is being stopped or started anew; what was asked goes on then",
            hint=f"ask again in a moment as request {id}, to see what comes of it",
        )

    @property
    def kind(self) -> str:
        return "Full"
