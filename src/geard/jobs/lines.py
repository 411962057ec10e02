"""What a job wrote, in lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from geard.jobs.output import ERRORS, Record
from geard.jobs.requests import JobOutput
from geard.logs.lines import render_time

LONGEST = 16_384


class Lines:
    """Takes records in order, of both streams at once."""

    def __init__(self) -> None:
        self._begun: dict[int, tuple[int, bytes]] = {}

    def take(self, record: Record) -> Iterator[JobOutput]:
        if record.missing:
            yield from self.rest()
            told = f"{record.missing} bytes of output here are not kept"
            yield JobOutput(time=render_time(record.time), stream="geard", content=told)
        time, before = self._begun.pop(record.kind, (record.time, b""))
        *whole, rest = (before + record.data).split(b"\n")
        for line in whole:
            yield _line(record.kind, time, line)
            time = record.time
        while len(rest) > LONGEST:
            yield _line(record.kind, time, rest[:LONGEST])
            rest = rest[LONGEST:]
        if rest:
            self._begun[record.kind] = (time, rest)

    def rest(self) -> Iterator[JobOutput]:
        """What has no end of line."""
        for kind, (time, line) in sorted(self._begun.items()):
            yield _line(kind, time, line)
        self._begun.clear()


def _line(kind: int, time: int, line: bytes) -> JobOutput:
    stream = "stderr" if kind == ERRORS else "stdout"
    return JobOutput(time=render_time(time), stream=stream, content=line.decode(errors="replace"))
