"""The form of an answer: what each of the three clients is given (docs/API.md), and how it is written.

`PLAIN` is curl; `TEXT` and `JSON` asked for just that; `ORIGINAL` is the Go client of 2015, which wants text
in a 202 and takes a 200 for JSON; `NDJSON` is our own `gear`, told every event as it comes; `SSE` a browser's
EventSource.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from geard.failures import Failure, NotAcceptable
from geard.request import Answer, Nothing, Piece, Progress, Route
from geard.transport.wire import NDJSON
from geard.words import builtins_of

TEXT_TYPE = "text/plain"
JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream"


class Form(enum.Enum):
    PLAIN = "plain"
    TEXT = "text"
    JSON = "json"
    NDJSON = "ndjson"
    ORIGINAL = "original"
    SSE = "server-sent events"


_FORMS = {
    "*/*": Form.PLAIN,
    "text/*": Form.TEXT,
    TEXT_TYPE: Form.TEXT,
    "application/*": Form.JSON,
    JSON_TYPE: Form.JSON,
    NDJSON: Form.NDJSON,
    SSE_TYPE: Form.SSE,
}


def parse_accept(header: str) -> Form:
    """The form an Accept header asks for: of those there are the one it likes best. Raises NotAcceptable."""
    if not header.strip():
        return Form.PLAIN
    best: tuple[float, Form] | None = None
    for choice in header.lower().split(","):
        kind, *options = (part.strip() for part in choice.split(";"))
        if kind in (TEXT_TYPE, JSON_TYPE) and "stream=true" in options:
            return Form.ORIGINAL
        weight = _weight(options)
        if kind in _FORMS and weight > (best[0] if best else 0):
            best = (weight, _FORMS[kind])
    if best is None:
        raise NotAcceptable(
            f"there is no such form of the answer: {header}", hint=f"{TEXT_TYPE}, {JSON_TYPE} or {NDJSON}"
        )
    return best[1]


def _weight(options: list[str]) -> float:
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0
    return 1


@dataclass(frozen=True)
class Whole:
    """An answer that is given in one piece."""

    status: int
    type: str
    body: bytes


def whole(answer: Answer, route: Route, form: Form) -> Whole:
    """Raises NotAcceptable where text was asked for and there is none of this answer."""
    if form is Form.SSE:
        raise NotAcceptable(
            "this answer comes in one piece", hint=f"ask for {JSON_TYPE}; or add ?follow=true to a change"
        )
    if form is Form.NDJSON:
        return Whole(200, NDJSON, NdjsonLines("").answer(answer) + NdjsonLines("").done())
    if form is Form.ORIGINAL:
        # of what it deleted it says so itself
        if route.text and route.method != "DELETE" and (text := text_of(answer)):
            return Whole(202, TEXT_TYPE, text)
        if route.text or isinstance(answer, Nothing):
            return Whole(204, "", b"")
    if form is Form.TEXT and not route.mutates and not _has_text(answer):
        raise NotAcceptable("there is no text form of this answer", hint=f"ask for {JSON_TYPE}")
    if form is Form.TEXT or (form is Form.PLAIN and (route.text or route.mutates)):
        return Whole(200, TEXT_TYPE, text_of(answer))
    return Whole(200, JSON_TYPE, encode_json(builtins_of(answer)))


def text_of(answer: Answer) -> bytes:
    text = answer.text()
    return f"{text}\n".encode() if text else b""


def _has_text(answer: Answer) -> bool:
    return type(answer).text is not Answer.text


def encode_json(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


class Lines(Protocol):
    """How the pieces of an answer that comes bit by bit are written."""

    type: str

    def answer(self, answer: Answer) -> bytes: ...
    def step(self, step: Progress, number: int) -> bytes:
        """The report's step of that number, from 1."""
        ...

    def item(self, item: Answer) -> bytes: ...
    def failure(self, failure: Failure) -> bytes: ...
    def done(self) -> bytes: ...
    def beat(self) -> bytes:
        """Sent when there was nothing else for a while, so that both sides know the other is there."""
        ...


class TextLines:
    type = TEXT_TYPE

    def answer(self, answer: Answer) -> bytes:
        return text_of(answer)

    def step(self, step: Progress, number: int) -> bytes:
        return text_of(step)

    def item(self, item: Answer) -> bytes:
        return f"{item.text()}\n".encode()

    def failure(self, failure: Failure) -> bytes:
        hint = f"\nhint: {failure.hint}" if failure.hint else ""
        return f"error: {failure.message}{hint}\n".encode()

    def done(self) -> bytes:
        return b""

    def beat(self) -> bytes:
        return b""


class RawLines(TextLines):
    """Of something that is no text."""

    type = "application/octet-stream"

    def item(self, item: Answer) -> bytes:
        return item.data if isinstance(item, Piece) else b""

    def failure(self, failure: Failure) -> bytes:
        return b""  # what is cut short has no end that who reads it would take for one


class NdjsonLines:
    type = NDJSON

    def __init__(self, id: str) -> None:
        self._id = id

    def answer(self, answer: Answer) -> bytes:
        return encode_json({"Answer": builtins_of(answer)})

    def step(self, step: Progress, number: int) -> bytes:
        return encode_json({"Progress": builtins_of(step), "Cursor": str(number)})

    def item(self, item: Answer) -> bytes:
        return encode_json({"Item": builtins_of(item)})

    def failure(self, failure: Failure) -> bytes:
        return encode_json({"Failure": failure_body(failure, self._id)})

    def done(self) -> bytes:
        return b'{"Done":true}\n'

    def beat(self) -> bytes:
        return b"{}\n"


class SseLines:
    """Server-sent events, as the HTML standard has them. What is no item has a name of its own."""

    type = SSE_TYPE

    def __init__(self, id: str) -> None:
        self._id = id

    def answer(self, answer: Answer) -> bytes:
        return _sse(encode_json(builtins_of(answer)), event="answer", id="0")

    def step(self, step: Progress, number: int) -> bytes:
        return _sse(encode_json(builtins_of(step)), event="progress", id=str(number))

    def item(self, item: Answer) -> bytes:
        return _sse(encode_json(builtins_of(item)), event="message", id=cursor_of(item))

    def failure(self, failure: Failure) -> bytes:
        return _sse(encode_json(failure_body(failure, self._id)), event="failure")

    def done(self) -> bytes:
        return _sse(b"true\n", event="done")

    def beat(self) -> bytes:
        return b":\n\n"


def _sse(line: bytes, *, event: str, id: str = "") -> bytes:
    """`line` is JSON, which has no line ends within."""
    head = f"id: {id}\nevent: {event}\n" if id else f"event: {event}\n"
    return head.encode() + b"data: " + line + b"\n"


def cursor_of(item: Answer) -> str:
    """What an asker goes on behind, once it was given this."""
    return str(getattr(item, "cursor", ""))


def lines_of(form: Form, id: str, *, raw: bool = False) -> Lines:
    if form is Form.SSE:
        return SseLines(id)
    if form in (Form.NDJSON, Form.JSON):
        return NdjsonLines(id)
    return RawLines() if raw else TextLines()


def failure_body(failure: Failure, id: str) -> dict[str, Any]:
    body: dict[str, Any] = {"Message": failure.message, "Kind": failure.kind, "RequestId": id}
    if failure.hint:
        body["Hint"] = failure.hint
    if failure.data is not None:
        body["Data"] = failure.data
    return body
