"""How `within` failed: the last line that it says. Pure."""

from __future__ import annotations

import json
from typing import Any

from geard.failures import Failure, Unavailable, failure_of_kind


class LeftError(Unavailable):
    """What is read has nobody any more to be read for: another failure is why."""

    @property
    def kind(self) -> str:
        return "Unavailable"


def remarks(errors: str, status: int) -> list[str]:
    lines = errors.splitlines()
    return lines[:-1] if status else lines


def failure(errors: str, status: int) -> Failure:
    last = (errors.splitlines() or [""])[-1]
    try:
        found: Any = json.loads(last)
        return failure_of(str(found["Kind"]), str(found["Message"]), str(found["Hint"]))
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"copying ended with status {status}{': ' if last else ''}{last[:500]}")


def failure_of(kind: str, message: str, hint: str = "") -> Failure:
    return LeftError(message) if kind == "Left" else failure_of_kind(kind, message, hint=hint)
