"""The one thing that crosses a line: a request, typed by its answer, the same value from terminal to deed.

    class StopContainer(Request[ContainerStatus]):
        route = Route("PUT", "/container/{id}/stopped")
        id: str

A request without a route is for this machine only. An answer that is a series is `Stream[Item]`: the operation
is then an async generator, and whoever sent the request iterates over what comes.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from geard.words import Word

Scope = Literal["read", "operate", "admin"]


@dataclass(frozen=True)
class Route:
    """Where a request lives over HTTP. Fields named in `path` sit there; the rest in the query of a GET or
    DELETE, in the JSON body otherwise.

    `scope` is the least an asker must hold. `text` says that a client which asks for no form (plain curl) is
    given text rather than JSON; every answer of a mutating request is text to it anyway. `also` are further
    methods that are accepted: README and original disagree here and there.
    """

    method: str
    path: str
    scope: Scope = "operate"
    text: bool = True
    also: tuple[str, ...] = ()

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


class Request(Word, Generic[R]):
    route: ClassVar[Route | None] = None
    example: ClassVar[Mapping[str, Any]] = {}
    """one such request, as JSON has it: for the API's description; tests read it"""
    secret_answer: ClassVar[bool] = False
    """The answer holds what nobody may read later: it goes into no record, and is given once."""

    def told(self) -> str:
        """What the journal is told of it beside its path: nothing that may be secret."""
        return ""

    def kept(self) -> Request[Any]:
        """What is remembered of it when it has ended, to tell the same question from another: no secret."""
        return self


class Stream(Iterator[T]):
    """A series of items that ends by its own rule, when either side closes it, or never."""

    def close(self) -> None:
        raise NotImplementedError


Follow = Callable[[Answer], None]
"""Called with the answer as soon as it is there, then with each step of the report (a Progress), in order."""


@dataclass(frozen=True)
class Asker:
    """Who asks, and through which door; `name` is what the journal and request records show."""

    name: str
    scopes: frozenset[Scope]
    uid: int | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


ROOT_HERE = Asker("root on this machine", frozenset(("read", "operate", "admin")), 0)


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
