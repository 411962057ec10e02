"""The form of an answer: what each of the three clients is given (docs/API.md), and how it is written.

`PLAIN` is curl; `TEXT` and `JSON` asked for just that; `ORIGINAL` is the Go client of 2015, which wants text
in a 202 and takes a 200 for JSON; `NDJSON` is our own `gear`, told every event as it comes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from geard.failures import Failure, NotAcceptable
from geard.request import Answer, Nothing, Progress, Route
from geard.transport.wire import NDJSON
from geard.words import builtins_of

TEXT_TYPE = "text/plain"
JSON_TYPE = "application/json"


class Form(enum.Enum):
    PLAIN = "plain"
    TEXT = "text"
    JSON = "json"
    NDJSON = "ndjson"
    ORIGINAL = "original"


_FORMS = {
    "*/*": Form.PLAIN,
    "text/*": Form.TEXT,
    TEXT_TYPE: Form.TEXT,
    "application/*": Form.JSON,
    JSON_TYPE: Form.JSON,
    NDJSON: Form.NDJSON,
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
    def step(self, step: Progress) -> bytes: ...
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

    def step(self, step: Progress) -> bytes:
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


class NdjsonLines:
    type = NDJSON

    def __init__(self, id: str) -> None:
        self._id = id

    def answer(self, answer: Answer) -> bytes:
        return encode_json({"Answer": builtins_of(answer)})

    def step(self, step: Progress) -> bytes:
        return encode_json({"Progress": builtins_of(step)})

    def item(self, item: Answer) -> bytes:
        return encode_json({"Item": builtins_of(item)})

    def failure(self, failure: Failure) -> bytes:
        return encode_json({"Failure": failure_body(failure, self._id)})

    def done(self) -> bytes:
        return b'{"Done":true}\n'

    def beat(self) -> bytes:
        return b"{}\n"


def lines_of(form: Form, id: str) -> Lines:
    return NdjsonLines(id) if form in (Form.NDJSON, Form.JSON) else TextLines()


def failure_body(failure: Failure, id: str) -> dict[str, Any]:
    body: dict[str, Any] = {"Message": failure.message, "Kind": failure.kind, "RequestId": id}
    if failure.hint:
        body["Hint"] = failure.hint
    if failure.data is not None:
        body["Data"] = failure.data
    return body
