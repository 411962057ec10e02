"""Programs that are started, and what is told of those that fail."""

from __future__ import annotations

import pytest

from geard.daemon.refusing import STATUS
from geard.failures import KINDS, Unavailable
from geard.host.process import ProgramFailed, run


async def test_a_program_that_fails_is_told_with_its_last_words_and_is_no_bug() -> None:
    with pytest.raises(ProgramFailed, match="sh failed: no such registry") as raised:
        await run(["sh", "-c", "echo first >&2; echo no such registry >&2; exit 3"])
    assert raised.value.status == 3
    assert raised.value.kind in KINDS
    assert (
        next(STATUS[kind] for kind in type(raised.value).__mro__ if kind in STATUS) == STATUS[Unavailable] == 503
    )


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(Unavailable, match="is not installed"):
        await run(["/nowhere/program"])
