"""The frames of a session: every event arrives as it was said, in whatever pieces its bytes come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from geard.failures import KINDS, Failure, Invalid, failure_of_kind
from geard.frames import FRAME_LIMIT, Decoder, encode, from_asker, to_asker

some = st.binary(max_size=2_000)
counts = st.integers(0, 2**32 - 1)
characters = st.integers(0, 2**16 - 1)
askers = st.one_of(
    st.builds(Input, some),
    st.builds(InputEnd),
    st.builds(Size, characters, characters),
    st.builds(Signal, st.sampled_from(SIGNALS)),
)
agents = st.one_of(
    st.builds(Output, some), st.builds(Errors, some), st.builds(Taken, counts), st.builds(Exit, counts)
)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    found: list[bytes] = []
    for size in sizes:
        found.append(data[:size])
        data = data[size:]
    return [*found, data]


def decoded(decoder: Decoder[Any], parts: list[bytes]) -> list[Any]:
    return [event for part in parts for event in decoder.feed(part)]


@given(st.lists(askers), st.lists(st.integers(0, 50)))
def test_what_an_asker_says(events: list[FromAsker], sizes: list[int]) -> None:
    assert decoded(from_asker(), pieces(b"".join(map(encode, events)), sizes)) == events


@given(st.lists(agents), st.lists(st.integers(0, 50)))
def test_what_an_agent_says(events: list[ToAsker], sizes: list[int]) -> None:
    assert decoded(to_asker(), pieces(b"".join(map(encode, events)), sizes)) == events


@given(st.binary(max_size=200))
def test_whatever_comes_is_events_or_invalid(data: bytes) -> None:
    for decoder in (from_asker(), to_asker()):
        try:
            decoder.feed(data)
        except Invalid:
            continue


@given(st.sampled_from(sorted(KINDS)), st.text(max_size=100), st.text(max_size=100))
def test_a_failure_arrives_as_what_it_was(kind: str, message: str, hint: str) -> None:
    (event,) = to_asker().feed(encode(Failed(failure_of_kind(kind, message, hint=hint, data=[1]))))
    assert isinstance(event, Failed)
    failure = event.failure
    assert (failure.kind, failure.message, failure.hint, failure.data) == (kind, message, hint, [1])


def test_much_data_is_several_frames_none_too_large() -> None:
    data = bytes(range(256)) * 1_000
    events = from_asker().feed(encode(Input(data)))
    assert b"".join(event.data for event in events if isinstance(event, Input)) == data
    assert max(len(event.data) for event in events if isinstance(event, Input)) == FRAME_LIMIT
    with pytest.raises(Invalid):
        from_asker().feed(b"i" + (FRAME_LIMIT + 1).to_bytes(4, "big"))


def test_the_bytes_are_those_of_the_documentation() -> None:
    assert encode(Input(b"ab")) == b"i\0\0\0\2ab"
    assert encode(InputEnd()) == b"e\0\0\0\0"
    assert encode(Size(24, 80)) == b"w\0\0\0\4\0\x18\0\x50"
    assert encode(Signal("INT")) == b"k\0\0\0\3INT"
    assert encode(Output(b"a")) == b"o\0\0\0\1a"
    assert encode(Errors(b"a")) == b"r\0\0\0\1a"
    assert encode(Taken(258)) == b"t\0\0\0\4\0\0\1\2"
    assert encode(Exit(7)) == b"x\0\0\0\4\0\0\0\7"


@pytest.mark.parametrize("frame", [b"k\0\0\0\4KILL", b"k\0\0\0\1\xff", b"w\0\0\0\1a"])
def test_what_cannot_be_meant_is_refused(frame: bytes) -> None:
    with pytest.raises(Invalid):
        from_asker().feed(frame)


def test_a_newer_sides_kinds_are_passed_over() -> None:
    assert from_asker().feed(b"?\0\0\0\3new" + encode(InputEnd())) == [InputEnd()]
    assert to_asker().feed(b"?\0\0\0\3new" + encode(Exit(0))) == [Exit(0)]


def test_a_long_failure_still_fits() -> None:
    (event,) = to_asker().feed(encode(Failed(Failure("long " * 20_000))))
    assert isinstance(event, Failed)
    assert event.failure.message.startswith("long long")
