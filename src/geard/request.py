"""The one thing that crosses a line: a request, typed by its answer, the same value from terminal to deed.

    class StopContainer(Request[ContainerStatus]):
        route = Route("PUT", "/container/{id}/stopped")
        id: str

A request without a route is for this machine only. An answer that is a series is `Stream[Item]`: the operation
is then an async generator, and whoever sent the request iterates over what comes.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Generic, Literal, TypeVar

from geard.failures import Denied
from geard.words import Word, names_in_parts

Scope = Literal["read", "pull", "operate", "admin", "join"]
"""Each of the first four holds those before it; `join` is that of an invitation, and asks for one thing only."""

SCOPES: dict[Scope, frozenset[Scope]] = {
    "read": frozenset(("read",)),
    "pull": frozenset(("read", "pull")),
    "operate": frozenset(("read", "pull", "operate")),
    "admin": frozenset(("read", "pull", "operate", "admin")),
    "join": frozenset(("join",)),
}
"""what who was given a scope holds"""

Reach = Literal["ids", "shown", "machine"]


@dataclass(frozen=True)
class Route:
    """Where a request lives over HTTP. Fields named in `path` sit there; the rest in the query of a GET or
    DELETE, in the JSON body otherwise.

    `scope` is the least an asker must hold. `text` says that a client which asks for no form (plain curl) is
    given text rather than JSON; every answer of a mutating request is text to it anyway. `also` are further
    methods that are accepted: README and original disagree here and there.

    `reach` is for askers who are bounded to some ids (`Asker.only`). `ids`: they may ask it of those, and it names
    some; `shown`: they may ask it, since it concerns no gear, or shows only what they reach; `machine`: never.
    """

    method: str
    path: str
    scope: Scope = "operate"
    text: bool = True
    also: tuple[str, ...] = ()
    reach: Reach = "ids"
    rest: bool = False
    """The last field of `path` is all that is left of it, slashes too."""
    in_query: tuple[str, ...] = ()
    """fields of a change that may stand in the query too, as the original has them"""

    @property
    def mutates(self) -> bool:
        return self.method not in ("GET", "HEAD")


class Answer(Word):
    """What a request is answered with. `text` is the same thing for people, as plain curl shows it."""

    example: ClassVar[Mapping[str, Any]] = {}
    """one of them, as JSON has it: for the API's description; tests read it"""

    def text(self) -> str:
        """Whole lines, without the last newline; empty where success says it all."""
        return ""

    def headers(self) -> dict[str, str]:
        """What the original's client looks for in the headers of an HTTP response."""
        return {}


class Nothing(Answer):
    """Success says it all."""


class Progress(Answer):
    """One step of the report that follows a mutating request's answer."""

    id: str = ""
    """the gear it is about"""
    phase: str = ""
    """pulling, pulled, starting, started, stopping, stopped, …: one word for programs"""
    message: str = ""
    result: bool = False
    """what came of it, rather than a step on the way"""

    def text(self) -> str:
        return self.message


R = TypeVar("R", covariant=True)
T = TypeVar("T", covariant=True)


class Piece(Answer):
    """A piece of a file. To plain clients the file is given as it is."""

    data: bytes
    """base64 in JSON"""
    type: str = ""
    """of the first: what the file is, as HTTP has it"""
    name: str = ""
    """of the first: what it may be called"""


class Request(Word, Generic[R]):
    route: ClassVar[Route | None] = None
    example: ClassVar[Mapping[str, Any]] = {}
    """one such request, as JSON has it: for the API's description; tests read it"""
    repeatable: ClassVar[bool] = True
    """Done again, it ends in the same place. What does not is on disk, synced, before it is begun, and one that is
    cut short fails rather than being begun twice."""
    secret_answer: ClassVar[bool] = False
    """The answer holds what nobody may read later: it goes into no record, and is given once."""

    archive: ClassVar[bool] = False
    """A session whose output, of a GET, or input, of a PUT, is a tar: without an upgrade it is the body."""

    def names(self) -> Iterable[str]:
        """The ids of gears, environments and secrets that it is about."""
        id = getattr(self, "id", "")
        return (*((id,) if id else ()), *names_in_parts(self))

    def told(self) -> str:
        """What the journal is told of it beside its path: nothing that may be secret."""
        return ""

    def callback(self) -> str:
        """A URL in its own words that is to be told when it has ended, as the original's bodies have one."""
        return ""

    def line(self) -> str:
        """`PUT /container/web/started`: what records show of it. Not for a machine: nothing in it is quoted."""
        if self.route is None:
            return type(self).__name__
        return f"{self.route.method} {_filled(self.route.path.split('/'), self)}"

    def subject(self) -> str:
        """`/container/web`: the one thing it is about, changed by one request at a time; else empty."""
        parts = self.route.path.split("/") if self.route is not None else []
        ends = [number for number, part in enumerate(parts) if part.startswith("{")]
        return _filled(parts[: ends[0] + 1], self) if ends else ""


def _filled(parts: list[str], request: Request[Any]) -> str:
    return "/".join(str(getattr(request, part[1:-1])) if part.startswith("{") else part for part in parts)


class Stream(Iterator[T]):
    """A series of items that ends by its own rule, when either side closes it, or never."""

    def close(self) -> None:
        raise NotImplementedError


Follow = Callable[[Answer], None]
"""Called with the answer as soon as it is there, then with each step of the report (a Progress), in order."""


@dataclass(frozen=True)
class Asker:
    """Who asks; `name` is what the journal and request records show."""

    name: str
    scopes: frozenset[Scope]
    uid: int | None = None
    only: tuple[str, ...] = ()
    """patterns (`web-*`) of the ids they may ask about; none: all"""
    credential: str = ""
    """`token NAME`, `certificate NAME`, `invitation NAME`; empty for whom the kernel knows"""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes

    @property
    def identity(self) -> str:
        """The same for the same asker, whichever door of this machine they come through."""
        return (self.credential or self.name) if self.uid is None else f"uid {self.uid}"

    def reaches(self, id: str) -> bool:
        return not self.only or any(fnmatchcase(id, pattern) for pattern in self.only)

    def check_reach(self, ids: Iterable[str]) -> None:
        """Raises Denied for the first that is beyond their reach."""
        for id in ids:
            if not self.reaches(id):
                raise Denied(f"{self.name} may not ask about {id}", hint=f"only about {', '.join(self.only)}")


ROOT_HERE = Asker("root on this machine", SCOPES["admin"], 0)
AGENT = Asker("the agent itself", SCOPES["admin"], 0)
"""what it does with nobody asking"""


def answer_type(request: type[Request[Any]]) -> Any:
    """The R of a `class X(Request[R])`."""
    for cls in request.__mro__:
        for base in getattr(cls, "__orig_bases__", ()):
            origin = typing.get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Request):
                return typing.get_args(base)[0]
    raise TypeError(f"{request.__name__} does not say its answer: write class {request.__name__}(Request[…])")


def stream_item(answer: Any) -> Any | None:
    """The T where `answer` is a Stream[T], else None."""
    return typing.get_args(answer)[0] if typing.get_origin(answer) is Stream else None
