"""`@operation`: the deed behind a request, checked against the request's own words when it is loaded."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, TypeVar

from geard.dispatch.work import Work
from geard.exchange import Session, Talk
from geard.request import Request, answer_type, stream_item

R = TypeVar("R")
Q = TypeVar("Q", bound=Request[Any])
Deed = Callable[[Q, Work], Awaitable[R] | AsyncIterator[R]]


@dataclass(frozen=True)
class Operation:
    request: type[Request[Any]]
    run: Callable[[Any, Work], Any]
    streams: bool


_operations: dict[type[Request[Any]], Operation] = {}

F = TypeVar("F", bound=Callable[..., Any])


def operation(deed: F) -> F:
    """Register `deed` for the request its first parameter names.

    Raises TypeError where its result is not the answer which that request promises.
    """
    hints = typing.get_type_hints(deed)
    names = list(inspect.signature(deed).parameters)
    request = hints[names[0]]
    promised, given = answer_type(request), hints["return"]
    item = stream_item(promised)
    wanted: Any = promised if item is None else GenericAlias(AsyncIterator, (item,))
    if promised is Session:
        wanted = Talk
    if given != wanted:
        raise TypeError(f"{deed.__name__} must answer {request.__name__} with {wanted}, not {given}")
    _operations[request] = Operation(request, deed, streams=item is not None)
    return deed


Find = Callable[[type[Request[Any]] | None], object]
_find: list[Find] = []


def find_operations(find: Find) -> None:
    """Have operations loaded when asked for: `find(request)` loads those of its room, `find(None)` all."""
    _find[:] = [find]


def operation_for(request: type[Request[Any]]) -> Operation:
    """Who loads no operations before, has them found: `find_operations`."""
    for wanted in (request, None):  # one room may do what another one's words ask
        if request not in _operations:
            _have_found(wanted)
    return _operations[request]


def all_operations() -> dict[type[Request[Any]], Operation]:
    _have_found(None)
    return _operations


def _have_found(request: type[Request[Any]] | None) -> None:
    for find in _find:
        find(request)
