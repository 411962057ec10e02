"""The events of a session as bytes: one byte for the kind, four for the length (big-endian), so many bytes.

Asker to agent: `i` input, `e` its end, `w` window (rows and columns, two bytes each), `k` a signal's name.
Agent to asker: `o` output, `r` errors, `t` taken (a count, four bytes), `x` exit (a status, four bytes), `f`
failed (JSON as in the body of any failure). A kind that is not known is passed over: a newer side's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from geard.exchange import (
    SIGNALS,
    Errors,
    Exit,
    Failed,
    FromAsker,
    Input,
    InputEnd,
    Output,
    Signal,
    Size,
    Taken,
    ToAsker,
)
from geard.failures import Invalid, failure_of_kind

PROTOCOL = "geard-session/1"
FRAME_LIMIT = 64 * 1024
LONG = 4_000  # characters of a failure

_HEAD = struct.Struct(">BI")
_SIZE = struct.Struct(">HH")
_COUNT = struct.Struct(">I")

E = TypeVar("E")


def encode(event: FromAsker | ToAsker) -> bytes:
    """One frame, or several where there is more data than one holds."""
    match event:
        case Input(data):
            return _data(b"i", data)
        case Output(data):
            return _data(b"o", data)
        case Errors(data):
            return _data(b"r", data)
        case InputEnd():
            return _frame(b"e", b"")
        case Size(rows, columns):
            return _frame(b"w", _SIZE.pack(min(rows, 0xFFFF), min(columns, 0xFFFF)))
        case Signal(name):
            return _frame(b"k", name.encode())
        case Taken(count):
            return _frame(b"t", _COUNT.pack(count))
        case Exit(status):
            return _frame(b"x", _COUNT.pack(status))
        case Failed(failure):
            told = {"Kind": failure.kind, "Message": failure.message[:LONG], "Hint": failure.hint[:LONG]}
            whole = msgspec.json.encode({**told, "Data": failure.data})
            return _frame(b"f", whole if len(whole) <= FRAME_LIMIT else msgspec.json.encode(told))


def _data(kind: bytes, data: bytes) -> bytes:
    if len(data) <= FRAME_LIMIT:
        return _frame(kind, data)
    parts = (data[at : at + FRAME_LIMIT] for at in range(0, len(data), FRAME_LIMIT))
    return b"".join(_frame(kind, part) for part in parts)


def _frame(kind: bytes, body: bytes) -> bytes:
    return _HEAD.pack(kind[0], len(body)) + body


class Decoder(Generic[E]):
    """Turns bytes, in whatever pieces they come, into events. `kinds` says which ones this side is told."""

    def __init__(self, kinds: dict[int, Callable[[bytes], E]]) -> None:
        self._kinds = kinds
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[E]:
        """The events that are whole now. Raises Invalid for what is no frame; there is no going on then."""
        buffer, found, at = self._buffer, list[E](), 0
        buffer += data
        while len(buffer) - at >= _HEAD.size:
            kind, length = _HEAD.unpack_from(buffer, at)
            if length > FRAME_LIMIT:
                raise Invalid(f"a frame of {length} bytes", hint=f"{FRAME_LIMIT} at most")
            end = at + _HEAD.size + length
            if len(buffer) < end:
                break
            read = self._kinds.get(kind)
            if read is not None:
                found.append(_read(read, kind, bytes(buffer[at + _HEAD.size : end])))
            at = end
        del buffer[:at]
        return found


def _read(read: Callable[[bytes], E], kind: int, body: bytes) -> E:
    try:
        return read(body)
    except (struct.error, ValueError, TypeError, KeyError, msgspec.MsgspecError):
        raise Invalid(f"a frame of kind {chr(kind)!r} with {body[:40]!r}") from None


def _signal(body: bytes) -> Signal:
    name = body.decode("ascii")
    if name not in SIGNALS:
        raise ValueError(name)
    return Signal(name)


def _input_end(body: bytes) -> InputEnd:
    return InputEnd()


def _failed(body: bytes) -> Failed:
    told: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    hint = str(told.get("Hint") or "")
    return Failed(failure_of_kind(str(told["Kind"]), str(told["Message"]), hint=hint, data=told.get("Data")))


_FROM_ASKER: dict[int, Callable[[bytes], FromAsker]] = {
    ord("i"): Input,
    ord("e"): _input_end,
    ord("w"): lambda body: Size(*_SIZE.unpack(body)),
    ord("k"): _signal,
}
_TO_ASKER: dict[int, Callable[[bytes], ToAsker]] = {
    ord("o"): Output,
    ord("r"): Errors,
    ord("t"): lambda body: Taken(*_COUNT.unpack(body)),
    ord("x"): lambda body: Exit(*_COUNT.unpack(body)),
    ord("f"): _failed,
}


def from_asker() -> Decoder[FromAsker]:
    """What an agent is told."""
    return Decoder(_FROM_ASKER)


def to_asker() -> Decoder[ToAsker]:
    """What an asker is told."""
    return Decoder(_TO_ASKER)
