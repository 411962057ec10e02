"""Answers as aiohttp sends them: in one piece, or begun; and the line of the journal for each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TypeVar

from aiohttp import web

from geard.daemon.forms import Form, Lines, whole
from geard.daemon.question import Question
from geard.dispatch.plain import Plain
from geard.host import fields
from geard.request import Answer

log = logging.getLogger(__name__)
R = TypeVar("R", bound=web.StreamResponse)


def respond(
    question: Question, status: int, type: str, body: bytes, further: Mapping[str, str] | None = None
) -> web.Response:
    headers = {**question.headers(), **(further or {})}
    if type:
        headers["Content-Type"] = _with_charset(type)
    return web.Response(status=status, body=body or None, headers=headers)


def respond_whole(question: Question, answer: Answer) -> web.Response:
    """Raises NotAcceptable."""
    assert question.entry is not None
    piece = whole(answer, question.entry.route, question.form)
    return respond(question, piece.status, piece.type, piece.body, answer.headers())


def respond_plain(question: Question, plain: Plain) -> web.Response:
    return web.Response(status=plain.status, body=plain.body, headers={**question.headers(), **plain.headers})


def begin(question: Question, lines: Lines, further: Mapping[str, str]) -> web.StreamResponse:
    """An answer that goes on, as `lines`."""
    question.headed = time.monotonic()
    headers = {**question.headers(), **further, "Content-Type": _with_charset(lines.type)}
    return web.StreamResponse(status=202 if question.form is Form.ORIGINAL else 200, headers=headers)


def _with_charset(type: str) -> str:
    return f"{type}; charset=utf-8" if type.startswith("text/") and "charset" not in type else type


def told(question: Question, response: R) -> R:
    """One line in the journal for each request that would change something, written when the answer is on its
    way: that takes as long as some requests do.
    """
    if question.http.method not in ("GET", "HEAD", "OPTIONS"):
        asyncio.get_running_loop().call_soon(_write_down, question, response.status)
    return response


def _write_down(question: Question, status: int) -> None:
    asker = question.asker
    log.info(
        "%s, %s: %s%s [%s] %d",
        "somebody" if asker is None else asker.name,
        question.visit.door,
        question.line,
        f" ({question.told[:100]!r})" if question.told else "",
        question.id,
        status,
        extra=fields.also({fields.STATUS: str(status)}),
    )
