"""What a callback says: the end of an operation as JSON."""

from __future__ import annotations

import socket
from typing import Any

import msgspec

from geard.callbacks.outbox import Entry
from geard.failures import Failure
from geard.request import Answer, Progress
from geard.words import builtins_of

BODY_LIMIT = 64 * 1024
"""bytes; beyond it the answer is left out"""


def done(entry: Entry, ended: str, answer: Answer, steps: list[Progress]) -> str:
    secret = entry.secret_answer
    came = [step.message for step in steps if step.result] or ["" if secret else answer.text()]
    told: dict[str, Any] = {"Outcome": "done", "Message": came[-1]}
    whole = {**told, "Answer": None if secret else builtins_of(answer)}
    body = _written(entry, ended, whole)
    return (
        body if len(body.encode()) <= BODY_LIMIT else _written(entry, ended, {**told, "Message": came[-1][:1000]})
    )


def failed(entry: Entry, ended: str, failure: Failure) -> str:
    message = failure.message[:8_000]
    told = {"Kind": failure.kind, "Message": message, "Hint": failure.hint[:8_000]}
    return _written(entry, ended, {"Outcome": "failed", "Message": message, "Failure": told})


def unknown(entry: Entry, ended: str) -> str:
    """The agent ended before the operation did, and nobody knows what became of it."""
    message = "the agent was stopped before this had ended; ask the same again to have it done, or done to its end"
    return _written(entry, ended, {"Outcome": "unknown", "Message": message})


def _written(entry: Entry, ended: str, told: dict[str, Any]) -> str:
    words = {
        "RequestId": entry.id,
        "Host": socket.gethostname(),
        "Request": entry.what,
        "Asker": entry.asker,
        "Accepted": entry.accepted,
        "Ended": ended,
        **told,
    }
    return msgspec.json.encode(words).decode()
