"""A program on somebody's line: what it is given, what it says, and that nothing else is closed with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

import pytest

from geard.exchange import FromAsker, InputEnd, Output, ToAsker
from geard.host.attached import output_of, relay
from geard.host.process import ProgramFailed


async def given(pieces: Iterable[bytes]) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield piece


async def said_by(script: str, pieces: Iterable[bytes]) -> bytes:
    return b"".join([piece async for piece in output_of(["sh", "-c", script], {}, given(pieces))])


async def test_what_is_given_goes_through() -> None:
    assert await said_by("cat; echo end", [b"a" * 200_000, b"b"]) == b"a" * 200_000 + b"bend\n"
    assert [piece async for piece in output_of(["sh", "-c", "cat"], {})] == []


async def test_a_program_that_does_not_read_says_what_it_says() -> None:
    """And all is taken from who sends it, who would hear nothing before that."""
    taken: list[int] = []

    async def many() -> AsyncGenerator[bytes]:
        for number in range(100):
            taken.append(number)
            yield bytes(64 * 1024)

    assert [piece async for piece in output_of(["sh", "-c", "exec <&-; echo no"], {}, many())] == [b"no\n"]
    assert len(taken) == 100


async def test_what_breaks_off_ends_the_program(tmp_path: Path) -> None:
    async def broken() -> AsyncGenerator[bytes]:
        yield b"begin"
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await anext(output_of(["sh", "-c", f"cat; touch {tmp_path}/went-on"], {}, broken()))
    assert not (tmp_path / "went-on").exists()
    with pytest.raises(ProgramFailed):
        await said_by("cat >/dev/null; exit 3", [b"x"])


def _take_numbers() -> list[int]:
    """Those that were given back are the first to be given out again."""
    return [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(8)]


def _give_back(numbers: list[int]) -> None:
    """Raises OSError for one that somebody else has closed."""
    for fd in numbers:
        os.close(fd)


async def test_the_end_of_the_input_closes_it_once() -> None:
    """Descriptors are numbers, which are used again: the second time would close what another has opened."""
    program = output_of(["sh", "-c", "cat; echo end"], {}, given([b"x"]))
    said, others = b"", list[int]()
    async for piece in program:
        said += piece
        if said.endswith(b"end\n"):
            others = _take_numbers()
    _give_back(others)


async def test_nor_does_a_sessions() -> None:
    others: list[int] = []

    class Line:
        async def hear(self) -> FromAsker:
            if not others:
                others.append(-1)
                return InputEnd()
            await asyncio.Event().wait()
            raise AssertionError

        async def say(self, event: ToAsker) -> None:
            if isinstance(event, Output) and event.data:
                others[:] = _take_numbers()

    assert await relay(["sh", "-c", "cat; echo end"], Line(), environment={}, stdin=True, terminal=None) == 0
    _give_back(others)
