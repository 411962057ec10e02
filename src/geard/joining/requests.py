"""The words of joining."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from geard.request import Answer, Progress, Request, Route, Stream
from geard.words import Word

State = Literal["queued", "running", "done", "failed", "interrupted"]


class KnownRequest(Word):
    """One request that was accepted."""

    id: str
    state: State
    """queued: it waits for its turn. interrupted: whoever did it was killed; the next agent goes on with what was
    answered, asking again with the same id does the rest"""
    by: str
    what: str
    """method and path"""
    since: str
    """RFC 3339; when it came"""
    ended: str = ""
    """RFC 3339"""
    answered: bool = False
    failure: str = ""
    """why it failed"""


class ShownRequest(KnownRequest, Answer):
    """One request, in full."""

    steps: tuple[Progress, ...] = ()
    """its report so far"""

    def text(self) -> str:
        lines = [f"{self.id} {self.state}: {self.what}, {self.by}, since {self.since}"]
        lines += [step.text() for step in self.steps]
        return "\n".join([*lines, f"error: {self.failure}"] if self.failure else lines)


class RequestList(Answer):
    """The latest last."""

    requests: tuple[KnownRequest, ...]


class ListRequests(Request[RequestList]):
    """The requests of a machine: those that have not ended, and those of the last hours; `all` that are kept.
    Who is bounded to some ids sees their own.
    """

    route = Route("GET", "/requests", scope="read", text=False, reach="shown")

    all: bool = False


class GetRequest(Request[ShownRequest]):
    """What came of a request so far."""

    route = Route("GET", "/request/{id}", scope="read", reach="shown")

    id: str

    def names(self) -> Iterable[str]:
        return ()


class JoinRequest(Request[Stream[Progress]]):
    """The report of a request by its id alone, from its first line to its end: first the answer, then each step.
    Ends with the failure that ended it. For who asked it, and for admins.
    """

    route = Route("GET", "/request/{id}/report", scope="read", reach="shown")

    id: str

    def names(self) -> Iterable[str]:
        return ()
