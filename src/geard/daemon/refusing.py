"""What could not be done, as HTTP says it: the status of each failure, and its answer."""

from __future__ import annotations

from aiohttp import web

from geard.daemon.connections import OtherVersion, TooSlow
from geard.daemon.forms import JSON_TYPE, Form, encode_json, failure_body
from geard.daemon.question import Question
from geard.daemon.responses import respond, respond_plain
from geard.daemon.table import WrongMethod
from geard.daemon.upgrade import UpgradeRequired
from geard.failures import (
    AlreadyExists,
    Bug,
    Conflict,
    Denied,
    Failure,
    Full,
    Invalid,
    NotAcceptable,
    NotFound,
    PreconditionFailed,
    TimedOut,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from geard.frames import PROTOCOL

STATUS: dict[type[Failure], int] = {
    Invalid: 400,
    TooLarge: 413,
    NotAcceptable: 406,
    WrongMethod: 405,
    UpgradeRequired: 426,
    TooSlow: 408,
    OtherVersion: 505,
    Unauthenticated: 401,
    Denied: 403,
    NotFound: 404,
    AlreadyExists: 409,
    Conflict: 409,
    PreconditionFailed: 412,
    TooMany: 429,
    Full: 503,
    Unavailable: 503,
    TimedOut: 504,
    Bug: 500,
    Failure: 500,
}

# Where the original's client knows another code for the same thing.
ORIGINAL_STATUS: dict[tuple[str, str, type[Failure]], int] = {
    ("POST", "/container/{id}/restart", Conflict): 429,
    ("POST", "/container/{id}/restart", PreconditionFailed): 429,
}

RETRY_SECONDS = 1


def status_of(failure: Failure, question: Question) -> int:
    if question.form is Form.ORIGINAL and question.entry is not None:
        known = ORIGINAL_STATUS.get((question.entry.method, question.entry.route.path, type(failure)))
        if known is not None:
            return known
    return next(STATUS[kind] for kind in type(failure).__mro__ if kind in STATUS)


def refuse(question: Question, failure: Failure) -> web.Response:
    """Who cannot say who asks is not listened to any further."""
    status, protocol = status_of(failure, question), question.protocol
    if protocol is None:
        response = respond(question, status, JSON_TYPE, encode_json(failure_body(failure, question.id)))
    else:
        response = respond_plain(question, protocol.refusal(failure, status))
    if isinstance(failure, Full | TooMany):
        response.headers["Retry-After"] = str(getattr(failure, "retry_after", RETRY_SECONDS))
    if isinstance(failure, WrongMethod):
        response.headers["Allow"] = ", ".join(failure.allowed)
    if isinstance(failure, UpgradeRequired):
        response.headers["Upgrade"] = PROTOCOL
    if isinstance(failure, Unauthenticated) and question.asker is None and protocol is None:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(failure, TooSlow | OtherVersion) or question.asker is None:
        response.force_close()
    return response
