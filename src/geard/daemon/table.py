"""The HTTP API as one table: which request a method and a path ask. It says what the requests say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from geard.failures import Invalid, NotFound
from geard.request import Request, Route, Scope, answer_type, stream_item


class WrongMethod(Invalid):
    """There is such a path, but not for this method. On the wire its kind is Invalid, its status 405."""

    def __init__(self, method: str, path: str, allowed: Iterable[str]) -> None:
        self.allowed = sorted(allowed)
        super().__init__(f"cannot {method[:20]} {path[:300]}", hint=f"it takes {', '.join(self.allowed)}")

    @property
    def kind(self) -> str:
        return "Invalid"


@dataclass(frozen=True)
class Entry:
    method: str
    request: type[Request[Any]]
    route: Route

    @property
    def name(self) -> str:
        """The same for all ids: `PUT /container/{id}`."""
        return f"{self.method} {self.route.path}"

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.route.path.split("/")[1:])


@dataclass(frozen=True)
class PageEntry:
    """Something beside the requests that is answered at a path."""

    path: str
    type: str
    about: str
    scope: Scope = "read"


def entries(requests: Iterable[type[Request[Any]]]) -> list[Entry]:
    """What is reachable over HTTP, sorted by path and method; a request without a route is not."""
    found = [
        Entry(method, request, request.route)
        for request in requests
        if request.route is not None
        for method in (request.route.method, *request.route.also)
    ]
    return sorted(found, key=lambda entry: (entry.route.path, entry.method))


def render_table(entries: Iterable[Entry]) -> str:
    """One line an entry: method, path, request, answer, scope."""
    rows = [("METHOD", "PATH", "REQUEST", "ANSWER", "SCOPE")]
    rows += [(e.method, e.route.path, e.request.__name__, _answer(e.request), e.route.scope) for e in entries]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _answer(request: type[Request[Any]]) -> str:
    answer = answer_type(request)
    item = stream_item(answer)
    return f"{item.__name__} …" if item is not None else str(answer.__name__)


class Table:
    """Raises TypeError where two requests claim one method and path."""

    def __init__(self, requests: Iterable[type[Request[Any]]]) -> None:
        self.entries = entries(requests)
        self._by_length: dict[int, list[Entry]] = defaultdict(list)
        claimed = dict[tuple[str, ...], Entry]()
        for entry in self.entries:
            shape = (entry.method, *("{}" if _field(part) else part for part in entry.segments))
            other = claimed.setdefault(shape, entry)
            if other is not entry:
                raise TypeError(
                    f"{other.request.__name__} and {entry.request.__name__} both want "
                    f"{entry.method} {entry.route.path}"
                )
            self._by_length[len(entry.segments)].append(entry)
        for row in self._by_length.values():
            # of two that fit, the one with words where the other has a field
            row.sort(key=lambda entry: [_field(part) is not None for part in entry.segments])

    def find(self, method: str, path: str) -> tuple[Entry, dict[str, str]]:
        """The entry, and what stands in its path's fields (percent-decoded).

        Raises NotFound, WrongMethod; Invalid where a field is not UTF-8.
        """
        given = path.split("/")[1:]
        fitting = [entry for entry in self._by_length.get(len(given), ()) if _fits(entry.segments, given)]
        for entry in self.entries if not fitting else ():
            last = len(entry.segments) - 1
            if entry.route.rest and len(given) > last and _fits(entry.segments[:last], given[:last]):
                given, fitting = [*given[:last], "/".join(given[last:])], [entry]
        for entry in fitting:
            if entry.method == method:
                return entry, _values(entry.segments, given)
        if fitting:
            raise WrongMethod(method, path, {entry.method for entry in fitting})
        raise NotFound(f"there is no {path[:300]} here", hint="GET / lists what there is")


def _field(part: str) -> str | None:
    return part[1:-1] if part.startswith("{") else None


def _fits(wanted: tuple[str, ...], given: list[str]) -> bool:
    return all(bool(part) if _field(want) else want == part for want, part in zip(wanted, given, strict=True))


def _values(wanted: tuple[str, ...], given: list[str]) -> dict[str, str]:
    try:
        return {
            name: unquote(part, errors="strict")
            for want, part in zip(wanted, given, strict=True)
            if (name := _field(want))
        }
    except UnicodeDecodeError:
        raise Invalid("the path is not UTF-8") from None
