"""The API as an OpenAPI 3.1 document (spec.openapis.org/oas/v3.1.1), made from the requests alone.

What a field means stands below it in the source, as text, and is read from there. Parts (`geard.words.Part`) stand
beside the other keys of a body, as they do on the wire.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from geard import __version__
from geard.daemon.archives import TYPE as ARCHIVE
from geard.daemon.forms import JSON_TYPE, TEXT_TYPE
from geard.daemon.table import Entry, PageEntry
from geard.exchange import Session
from geard.failures import KINDS, Failure
from geard.frames import PROTOCOL
from geard.request import Answer, Nothing, Piece, Progress, Request, answer_type, stream_item
from geard.transport.wire import NDJSON, REQUEST_ID, path_fields
from geard.words import Part, Word

Document = dict[str, Any]
Statuses = Mapping[type[Failure], int]

REF = "#/components/schemas/{name}"
ABOUT = """\
Runs container images as systemd services. docs/API.md tells how joining, following and waiting work; in short:

- Keys of bodies are read in any case and written as here; one that is not known is refused with the nearest.
- A change is answered as soon as its intent is on disk. `follow=true` adds the report of what comes of it, to the
  end, and `Prefer: wait=N` N seconds of it. Leaving early interrupts nothing.
- The same `X-Request-Id`, from the same asker and with the same words, joins what was asked before.
- The Go client of 2015 says `Accept: application/json;stream=true`, and is given 202 with text, or 204, where
  others are given a 200.
"""
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{1,63}$"
REQUEST_ID_PATTERN = r"^([A-Za-z0-9_-]{22}(==)?|[0-9a-fA-F]{32})$"
ID = "AAECAwQFBgcICQoLDA0ODw"


def document(entries: Sequence[Entry], pages: Iterable[PageEntry], statuses: Statuses) -> Document:
    schemas = _schemas(entries)
    paths: dict[str, Document] = {}
    for page in pages:
        paths.setdefault(page.path, {})["get"] = _page(page, statuses)
    for entry in entries:
        paths.setdefault(entry.route.path, {})[entry.method.lower()] = _operation(entry, schemas, statuses)
    kinds = {kind: number for kind, number in statuses.items() if kind is not Failure}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "geard",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "the agent this was asked of"}],
        "tags": [{"name": room} for room in sorted({_room(entry.request) for entry in entries} | {"agent"})],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {f"Status{code}": _refusal(code, kinds) for code in sorted(set(kinds.values()))},
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": {
                "door": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Host",
                    "description": "Nothing to send: on the unix socket and on loopback the kernel says who asks.",
                },
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def parts() -> dict[str, type[Part]]:
    return {kind.key: kind for kind in sorted(Part.__subclasses__(), key=lambda kind: kind.key)}


def _schemas(entries: Iterable[Entry]) -> dict[str, Document]:
    """Every word that crosses the line, parts put where they stand on the wire."""
    words = {kind for entry in entries for kind in _words(entry.request)}
    known = parts()
    _, found = msgspec.json.schema_components(
        sorted({*words, Progress, *known.values()}, key=lambda kind: str(kind.__name__)), ref_template=REF
    )
    kinds = {kind.__name__: kind for kind in _all_words(Word)}
    beside = {
        key: {**found[kind.__name__]["properties"]["Value"], "description": _first(kind)}
        for key, kind in known.items()
    }
    for name, schema in found.items():
        if "properties" not in schema:
            continue
        if schema["properties"].pop("Parts", None):
            schema["properties"] |= beside
        for field, text in _told_of_fields(kinds[name]).items():
            if field in schema["properties"]:
                schema["properties"][field].setdefault("description", text)
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
        if issubclass(kinds[name], Request):
            schema["additionalProperties"] = False
    for name in ("Part", *(kind.__name__ for kind in known.values())):
        found.pop(name, None)
    found["Failure"] = FAILURE
    return found


def _words(request: type[Request[Any]]) -> list[type[Word]]:
    answer = answer_type(request)
    return [request] if answer is Session else [request, stream_item(answer) or answer]


def _all_words(kind: type[Word]) -> set[type[Word]]:
    return {kind}.union(*(_all_words(sub) for sub in kind.__subclasses__()))


@cache
def _told_of_fields(kind: type[Word]) -> dict[str, str]:
    """What stands as text below the fields of a class and of those it is derived from."""
    written = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    told: dict[str, str] = {}
    for cls in kind.__mro__:
        if not (issubclass(cls, Word) and cls is not Word):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        except (OSError, TypeError):  # a class without a source: made in a console
            continue
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
                and field.target.id in written
            ):
                told.setdefault(written[field.target.id], inspect.cleandoc(text.value.value))
    return told


def _operation(entry: Entry, schemas: Mapping[str, Document], statuses: Statuses) -> Document:
    request, route = entry.request, entry.route
    answer = answer_type(request)
    first = entry.method == route.method
    found: Document = {
        "operationId": request.__name__ if first else f"{request.__name__}By{entry.method.capitalize()}",
        "tags": [_room(request)],
        "summary": _first(request) or _in_words(request.__name__),
        "description": inspect.cleandoc(request.__doc__ or ""),
        "parameters": [*_parameters(request, schemas), *_shared_parameters(entry)],
        "responses": {**_answers(entry, answer), **_refusals(entry, statuses)},
        "security": _security(route.scope),
        "x-scope": route.scope,
    }
    if request.archive and route.mutates:
        found["requestBody"] = {"required": True, "content": {ARCHIVE: {"schema": {}}}}
    elif route.method not in ("GET", "HEAD", "DELETE"):
        found["requestBody"] = _body(request, schemas)
    return found


def _room(request: type[Request[Any]]) -> str:
    return request.__module__.split(".")[1] if "." in request.__module__ else "agent"


def _security(scope: str) -> list[Document]:
    return [{"door": []}, {"token": [scope]}, {"certificate": [scope]}]


def _parameters(request: type[Request[Any]], schemas: Mapping[str, Document]) -> list[Document]:
    assert request.route is not None
    fields = {field.name: field for field in msgspec.structs.fields(request)}
    written, in_path = schemas[request.__name__]["properties"], path_fields(request.route)
    found: list[Document] = []
    for name in in_path:
        schema = {**written[fields[name].encode_name], **({"pattern": NAME} if name == "id" else {})}
        example = request.example.get(fields[name].encode_name, "web-1")
        found.append({"name": name, "in": "path", "required": True, "schema": schema, "example": example})
    if request.route.method in ("GET", "DELETE") or request.archive:
        for field in fields.values():
            if field.name in in_path or field.encode_name not in written:
                continue
            schema = dict(written[field.encode_name])
            about = {"description": schema.pop("description")} if "description" in schema else {}
            # as the original's README has them, in small letters; read in any case
            parameter: Document = {"name": field.encode_name.lower(), "in": "query", "schema": _of_text(schema)}
            found.append(parameter | about | ({"required": True} if field.required else {}))
    return found


def _of_text(schema: Document) -> Document:
    """Of a query a value is left out, it is never null; truth is written as JSON has it, or 1 and 0."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    found = dict(kinds[0]) if len(kinds) == 1 else dict(schema)
    if found.get("default", ...) is None:
        found.pop("default")
    return found


def _shared_parameters(entry: Entry) -> list[Document]:
    names = ["RequestId"]
    if entry.route.mutates and answer_type(entry.request) is not Session:
        names += ["Follow", "Prefer"]
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _body(request: type[Request[Any]], schemas: Mapping[str, Document]) -> Document:
    assert request.route is not None
    whole = schemas[request.__name__]
    names = dict(zip(request.__struct_fields__, request.__struct_encode_fields__, strict=True))
    in_path = {names[name] for name in path_fields(request.route)}
    properties = {key: value for key, value in whole["properties"].items() if key not in in_path}
    required = [key for key in whole.get("required", ()) if key not in in_path]
    schema: Document = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    example = {key: value for key, value in request.example.items() if key not in in_path}
    content: Document = {"schema": schema, "example": example}
    return {"required": bool(required), "content": {JSON_TYPE: content}}


def _answers(entry: Entry, answer: Any) -> dict[str, Document]:
    route = entry.route
    if answer is Session:
        about = f"The connection is a session of protocol {PROTOCOL} from here on; docs/API.md has its frames."
        upgrade = {"schema": {"type": "string", "const": PROTOCOL}}
        found = {"101": {"description": about, "headers": {**_echo(), "Upgrade": upgrade}}}
        if entry.request.archive:
            done: Document = {
                "description": "Without an upgrade: a tar, or that one was taken.",
                "headers": _echo(),
            }
            done |= {"content": {ARCHIVE: {"schema": {}}}} if not route.mutates else {}
            found |= {"200": done} | ({"204": done} if route.mutates else {})
        return found
    item = stream_item(answer)
    word: type[Answer] = item or answer
    content: Document = {}
    if route.mutates or word.text is not Answer.text:
        content[TEXT_TYPE] = {"schema": {"type": "string"}}
    if item is Piece:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    if item is None:
        one = {"example": dict(word.example)} if word.example else {}
        content[JSON_TYPE] = {"schema": {"$ref": REF.format(name=word.__name__)}, **one}
    content[NDJSON] = {
        "schema": {"type": "string", "description": "One JSON object a line; x-itemSchema says which."},
        "x-itemSchema": _events(word, streams=item is not None, mutates=route.mutates),
    }
    headers = _echo()
    if word.headers is not Answer.headers:
        headers["X-PortMapping"] = {"$ref": "#/components/headers/PortMapping"}
    about = (
        "Success says it all." if word is Nothing else _first(word) or _in_words(word.__name__).capitalize() + "."
    )
    if item is not None:
        about = f"A stream, each item of it: {about}"
    found = {"200": {"description": about, "headers": headers, "content": content}}
    if (route.mutates or route.text) and word is not Nothing:
        text = {TEXT_TYPE: {"schema": {"type": "string"}}}
        found["202"] = {"description": "The same for the client of 2015.", "headers": headers, "content": text}
    if route.mutates or (route.text and item is None):
        found["204"] = {
            "description": "For the client of 2015, where there is nothing to say.",
            "headers": headers,
        }
    return found


def _events(word: type[Answer], *, streams: bool, mutates: bool) -> Document:
    """What the lines of an NDJSON answer are."""

    def event(key: str, schema: Document) -> Document:
        return {"type": "object", "properties": {key: schema}, "required": [key], "additionalProperties": False}

    about = {"$ref": REF.format(name=word.__name__)}
    kinds = [event("Item" if streams else "Answer", about)]
    if mutates:
        kinds.append(event("Progress", {"$ref": REF.format(name="Progress")}))
    kinds += [
        event("Done", {"const": True}),
        event("Failure", {"$ref": REF.format(name="Failure")}),
        {"type": "object", "maxProperties": 0, "description": "after 15 s of silence"},
    ]
    return {"oneOf": kinds}


def _refusals(entry: Entry, statuses: Statuses) -> dict[str, Document]:
    """What may be refused of this request: of all kinds, those that its shape allows."""
    kinds = {kind.__name__: number for kind, number in statuses.items()}
    names = ["Invalid", "NotAcceptable", "Unauthenticated", "Denied", "NotFound", "TooMany"]
    names += ["Unavailable", "TimedOut", "Bug"]
    if path_fields(entry.route):
        names += ["PreconditionFailed"]  # it does not run, or has not ended
    if entry.route.mutates:
        names += ["AlreadyExists", "Conflict", "PreconditionFailed", "TooLarge", "Full"]
    if answer_type(entry.request) is Session:
        names += ["PreconditionFailed", "Conflict", "Full"]
        names += [] if entry.request.archive else ["UpgradeRequired"]
    found = sorted({kinds[name] for name in names if name in kinds})
    return {str(code): {"$ref": f"#/components/responses/Status{code}"} for code in found}


def _refusal(code: int, kinds: Mapping[type[Failure], int]) -> Document:
    named = sorted({_kind_name(kind) for kind, number in kinds.items() if number == code})
    headers = _echo()
    if code in (429, 503):
        headers["Retry-After"] = {"schema": {"type": "integer"}, "description": "seconds"}
    if code == 405:
        headers["Allow"] = {"schema": {"type": "string"}}
    if code == 426:
        headers["Upgrade"] = {"schema": {"type": "string"}}
    example = {"Message": EXAMPLES.get(code, HTTPStatus(code).phrase), "Kind": named[0], "RequestId": ID}
    content = {JSON_TYPE: {"schema": {"$ref": REF.format(name="Failure")}, "example": example}}
    return {
        "description": f"{HTTPStatus(code).phrase}: {', '.join(named)}",
        "headers": headers,
        "content": content,
        "x-kinds": named,
    }


def _kind_name(kind: type[Failure]) -> str:
    """As the body says it: those that only the HTTP side knows are told as what they are derived from."""
    return kind.__name__ if kind.__module__ == Failure.__module__ else "Invalid"


def _page(page: PageEntry, statuses: Statuses) -> Document:
    kinds = {kind.__name__: number for kind, number in statuses.items()}
    refused = sorted({kinds[name] for name in ("Invalid", "Unauthenticated", "Denied", "TooMany", "Bug")})
    schema: Document = {"type": "object"} if page.type.startswith(JSON_TYPE) else {"type": "string"}
    name = re.sub(r"\W+", " ", page.path).title().replace(" ", "") or "Root"
    return {
        "operationId": f"Page{name}",
        "tags": ["agent"],
        "summary": page.about,
        "parameters": [{"$ref": "#/components/parameters/RequestId"}],
        "responses": {
            "200": {"description": page.about, "headers": _echo(), "content": {page.type: {"schema": schema}}},
            **{str(code): {"$ref": f"#/components/responses/Status{code}"} for code in refused},
        },
        "security": _security(page.scope),
        "x-scope": page.scope,
    }


def _echo() -> dict[str, Document]:
    return {REQUEST_ID: {"$ref": "#/components/headers/RequestId"}}


def _first(kind: type) -> str:
    """The first sentence of what a class says of itself; nothing where it only inherits what it says."""
    text = kind.__dict__.get("__doc__") or ""
    return re.split(r"(?<=[.;]) |\n\n", " ".join(inspect.cleandoc(text).split("\n\n")[0].split()))[0].rstrip(";")


def _in_words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).capitalize()


PARAMETERS: dict[str, Document] = {
    "RequestId": {
        "name": REQUEST_ID,
        "in": "header",
        "description": "The id to ask by: 22 characters of base64url or 32 hexadecimal digits. Else a new one.",
        "schema": {"type": "string", "pattern": REQUEST_ID_PATTERN},
    },
    "Follow": {
        "name": "follow",
        "in": "query",
        "description": "The report too, to its end.",
        "schema": {"type": "boolean"},
    },
    "Prefer": {
        "name": "Prefer",
        "in": "header",
        "description": "`wait=N`: N seconds of the report (RFC 7240).",
        "schema": {"type": "string", "pattern": "^wait=[0-9]{1,3}$"},
    },
}
HEADERS: dict[str, Document] = {
    "RequestId": {
        "description": "The id this was done under, in its one spelling.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"},
    },
    "PortMapping": {
        "description": "INTERNAL:EXTERNAL of each published port, where there are any.",
        "schema": {"type": "string"},
        "example": "8080:4000,53:4001/udp",
    },
}
FAILURE: Document = {
    "type": "object",
    "description": "What could not be done, about what; the hint is what would help.",
    "properties": {
        "Message": {"type": "string"},
        "Kind": {"type": "string", "enum": sorted({*KINDS})},
        "Hint": {"type": "string"},
        "Data": {},
        "RequestId": {"type": "string"},
    },
    "required": ["Message", "Kind", "RequestId"],
}
EXAMPLES = {
    400: "there is no $.Comand",
    401: "cannot tell who is at the other end of this connection",
    403: "uid 1000 (alice) may not use this agent over TCP",
    404: "there is no gear web-1 here",
    405: "cannot PATCH /containers",
    406: "there is no such form of the answer: image/png",
    409: "cannot give port 4000/tcp to web-1: gear web-2 has it",
    412: "web-1 does not run",
    413: "the body is larger than 102400 bytes",
    426: "/container/web-1/exec is a session, not an answer",
    429: "too many tries",
    500: f"geard met a bug of its own; the journal knows it as request {ID}",
    503: "1000 requests are being worked on",
    504: "still going on after 5 s",
}
