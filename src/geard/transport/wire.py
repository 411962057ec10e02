"""Requests as HTTP carries them: which fields sit in the path, in the query, in the body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

import msgspec

from geard.failures import Denied, Invalid
from geard.request import Request, Route
from geard.words import builtins_of, read

Q = TypeVar("Q", bound=Request[Any])

REQUEST_ID = "X-Request-Id"
CALLBACK = "Callback"
NDJSON = "application/x-ndjson"
BODY_LIMIT = 100 * 1024

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Call:
    method: str
    target: str
    body: bytes | None


def path_fields(route: Route) -> tuple[str, ...]:
    return tuple(_FIELD.findall(route.path))


def write(request: Request[Any]) -> Call:
    """How `request` is asked over HTTP. Raises Invalid for words that are not UTF-8: a command line is bytes."""
    try:
        return _write(request)
    except UnicodeEncodeError as error:
        word = str(error.object)[max(0, error.start - 20) : error.end + 20]
        raise Invalid(f"{word!r} is not UTF-8 and cannot be asked of an agent") from None


def _write(request: Request[Any]) -> Call:
    route = type(request).route
    if route is None:
        raise Denied(
            "that is done on the machine itself, by root, and through no agent", hint="there: sudo gear …"
        )
    values = builtins_of(request)
    names = dict(zip(request.__struct_fields__, request.__struct_encode_fields__, strict=True))
    in_path = {name: str(values.pop(names[name])) for name in path_fields(route)}
    target = _FIELD.sub(lambda found: quote(in_path[found[1]], safe=""), route.path)
    if route.method not in ("GET", "DELETE"):
        return Call(route.method, target, msgspec.json.encode(values))
    usual = {field.encode_name: field.default for field in msgspec.structs.fields(request)}
    query = {
        key: str(int(value)) if isinstance(value, bool) else str(value)
        for key, value in values.items()
        if value is not None and value != usual[key]
    }
    return Call(route.method, target + (f"?{urlencode(query)}" if query else ""), None)


def parse(kind: type[Q], in_path: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Q:
    """The request that came over HTTP. What the path says wins over the body. Raises Invalid."""
    route = kind.route
    assert route is not None
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    fixed = {names[name]: value for name, value in in_path.items()}
    if route.method in ("GET", "DELETE") or (kind.archive and not body):
        return read(kind, {**query, **fixed}, strict=False)
    known = {name.lower(): names[name] for name in route.in_query}
    fixed |= {known[key.lower()]: value for key, value in query.items() if key.lower() in known}
    if not body:
        return read(kind, fixed)
    value = _object(body)
    lowered = {key.lower() for key in fixed}
    return read(kind, {**{k: v for k, v in value.items() if k.lower() not in lowered}, **fixed})


def _object(body: bytes) -> dict[str, Any]:
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise Invalid("the body is nested too deep") from None
    if not isinstance(value, dict):
        raise Invalid(f"the body must be a JSON object, not {type(value).__name__}")
    return cast("dict[str, Any]", value)
