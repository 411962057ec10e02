"""A request's record: a file of JSON lines, its heading first, then what came of it in order.

    {"Heading":{"Id":…,"Who":"uid 0","By":"uid 0 (root)","Kind":"StartContainer","What":"PUT /container/…",…}}
    {"Answer":{…},"Owed":[{"Kind":"GoOn","Words":{…}}]}
    {"Step":{"Id":"web","Phase":"starting",…}}
    {"Ended":1764000000.0}

So a line more is one write, and a writer that is killed leaves all it had said. No line holds the request's words,
which may be secret: `Digest` tells the same request from another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import msgspec

from geard.failures import Failure, failure_of_kind
from geard.request import Progress
from geard.words import Word

State = Literal["queued", "running", "done", "failed", "interrupted"]


class Heading(Word, omit_defaults=True):
    """Who asked for what, when."""

    id: str
    who: str
    """`Asker.identity`: who may join"""
    by: str
    """… as people know them"""
    kind: str
    """the request's class"""
    what: str
    """its method and path"""
    digest: str
    """of all its words, keyed"""
    at: float
    """when it came, in seconds since 1970"""
    repeatable: bool = True
    secret_answer: bool = False

    def same(self, other: Heading) -> bool:
        """Whether both are one question: the same words, by the same asker."""
        return (self.who, self.kind, self.digest) == (other.who, other.kind, other.digest)


class Owed(Word):
    """A request that goes on behind the answer where the process that gave it was killed. No secret is in it."""

    kind: str
    words: dict[str, Any]


class Told(Word, omit_defaults=True):
    """A failure, written down."""

    kind: str
    message: str
    hint: str = ""
    data: Any = None

    @classmethod
    def of(cls, failure: Failure) -> Told:
        return cls(kind=failure.kind, message=failure.message, hint=failure.hint, data=failure.data)

    def failure(self) -> Failure:
        return failure_of_kind(self.kind, self.message, hint=self.hint, data=self.data)


class Line(Word, omit_defaults=True):
    """One line: what it says is what is not left out."""

    heading: Heading | None = None
    answer: Any = None
    owed: tuple[Owed, ...] = ()
    lost: bool = False
    """there is more to do behind the answer than what is owed, and only the process that gave it can do that"""
    withheld: bool = False
    """it was answered with what may not be written down"""
    step: Progress | None = None
    queued: bool | None = None
    ended: float | None = None
    """seconds since 1970"""
    failure: Told | None = None
    """beside `ended`: how"""


_decoder = msgspec.json.Decoder(Line)


@dataclass
class Record:
    """What a file of lines says, or as much as has been written yet."""

    heading: Heading
    answered: bool = False
    answer: Any = None
    """JSON's own values"""
    withheld: bool = False
    owed: tuple[Owed, ...] = ()
    lost: bool = False
    steps: list[Progress] = field(default_factory=list[Progress])
    queued: bool = False
    ended: float | None = None
    failure: Failure | None = None

    def state(self, *, held: bool) -> State:
        """`held`: a process is at it."""
        if self.ended is not None:
            return "failed" if self.failure is not None else "done"
        return ("queued" if self.queued else "running") if held else "interrupted"

    def take(self, line: Line) -> None:
        """One line more."""
        if line.answer is not None or line.withheld:
            self.answered, self.answer, self.withheld = True, line.answer, line.withheld
            self.owed, self.lost = line.owed, line.lost
        if line.step is not None:
            self.steps.append(line.step)
        if line.queued is not None:
            self.queued = line.queued
        if line.ended is not None:
            self.ended = line.ended
            self.failure = line.failure.failure() if line.failure is not None else None


def encode_line(line: Line) -> bytes:
    try:
        return msgspec.json.encode(line) + b"\n"
    except UnicodeEncodeError:  # a command line is bytes, and a message may quote it
        return msgspec.json.encode(_readable(msgspec.to_builtins(line))) + b"\n"


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def decode_lines(data: bytes) -> Iterable[Line]:
    """The whole lines in `data`; one that cannot be read, which a power cut may have left, is passed over."""
    for text in data.splitlines(keepends=True):
        if text.endswith(b"\n"):
            try:
                yield _decoder.decode(text)
            except msgspec.DecodeError:
                continue


def parse_record(data: bytes) -> Record | None:
    """None where there is not even a heading."""
    found: Record | None = None
    for line in decode_lines(data):
        if found is None:
            if line.heading is None:
                return None
            found = Record(line.heading)
        else:
            found.take(line)
    return found
