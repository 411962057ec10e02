"""Failures as exit codes (docs/API.md, "Words for failure")."""

from __future__ import annotations

from collections.abc import Sequence

from geard.failures import (
    Denied,
    Failure,
    Full,
    Invalid,
    NotFound,
    PreconditionFailed,
    TimedOut,
    TooMany,
    Unauthenticated,
)

USAGE = 64  # EX_USAGE of sysexits.h

_CODES: tuple[tuple[type[Failure], int], ...] = (
    (Invalid, USAGE),
    (Unauthenticated, 4),
    (Denied, 4),
    (NotFound, 5),
    (PreconditionFailed, 6),
    (TooMany, 7),
    (Full, 7),
    (TimedOut, 8),
)


def exit_code(failures: Sequence[Failure]) -> int:
    """0 for none; the code of the kind where all are of one kind, else 1."""
    codes = {next((code for kind, code in _CODES if isinstance(failure, kind)), 1) for failure in failures}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 else 1
