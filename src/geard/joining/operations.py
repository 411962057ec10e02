"""Requests, looked at and joined. All stands on disk: whoever does them need not be asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from geard.dispatch.operation import all_operations, operation
from geard.dispatch.record import Record
from geard.dispatch.records import Records
from geard.dispatch.work import Work
from geard.failures import Failure, NotFound, Unavailable
from geard.identifiers import parse_request_id
from geard.joining.requests import (
    GetRequest,
    JoinRequest,
    KnownRequest,
    ListRequests,
    RequestList,
    ShownRequest,
)
from geard.request import Answer, Progress, answer_type

RECENT = timedelta(hours=1)
PATIENCE_SECONDS = 10.0
"""An agent that is started anew takes a request up again in this time."""


@operation
async def list_requests(request: ListRequests, work: Work) -> RequestList:
    records = await work.on_disk(_records(work).all)
    found = [KnownRequest(**_known(record, held)) for record, held in records if _sees(work, record)]
    recent = _time((datetime.now(UTC) - RECENT).timestamp())
    return RequestList(
        requests=tuple(each for each in found if request.all or not each.ended or each.ended >= recent)
    )


@operation
async def get_request(request: GetRequest, work: Work) -> ShownRequest:
    id = parse_request_id(request.id)
    record, held = await work.on_disk(_require, work, id)
    steps = tuple(record.steps) if _may(work, record) else ()
    return ShownRequest(**_known(record, held), steps=steps)


@operation
async def join_request(request: JoinRequest, work: Work) -> AsyncIterator[Progress]:
    id = parse_request_id(request.id)
    record, _ = await work.on_disk(_require, work, id)
    if not _may(work, record):
        raise _no_such(id)
    async for line in _records(work).follow(id, patience=PATIENCE_SECONDS):
        if line.answer is not None:
            yield Progress(phase="answered", message=_answer_text(record, line.answer), result=True)
        if line.step is not None:
            yield line.step
        if line.ended is not None:
            if line.failure is not None:
                raise line.failure.failure()
            return
    raise _interrupted(id, answered=(await work.on_disk(_require, work, id))[0].answered)


def _interrupted(id: str, *, answered: bool) -> Failure:
    return Unavailable(
        f"request {id} was cut short; nobody is at it now",
        hint="the agent goes on with it when it is started: systemctl start geard"
        if answered
        else "it was not answered; the same request with the same id does it",
    )


def _records(work: Work) -> Records:
    assert work.records is not None
    return work.records


def _require(work: Work, id: str) -> tuple[Record, bool]:
    found = _records(work).find(id)
    if found is None or not _sees(work, found[0]):
        raise _no_such(id)
    return found


def _no_such(id: str) -> NotFound:
    return NotFound(f"no request {id} is known here", hint="gear requests --all shows those that are")


def _sees(work: Work, record: Record) -> bool:
    """That there is a request, everybody may know but those who are bounded to some ids."""
    return not work.asker.only or work.asker.identity == record.heading.who


def _may(work: Work, record: Record) -> bool:
    """What came of a request is its asker's, and the admin's."""
    return work.asker.identity == record.heading.who or (work.asker.may("admin") and not work.asker.only)


def _known(record: Record, held: bool) -> dict[str, Any]:
    heading = record.heading
    return {
        "id": heading.id,
        "state": record.state(held=held),
        "by": heading.by,
        "what": heading.what,
        "since": _time(heading.at),
        "ended": _time(record.ended) if record.ended is not None else "",
        "answered": record.answered,
        "failure": record.failure.message if record.failure is not None else "",
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _answer_text(record: Record, answer: Any) -> str:
    """As people read it; empty where this version of geard does not know such an answer."""
    for kind in all_operations():
        if kind.__name__ == record.heading.kind:
            try:
                found = msgspec.convert(answer, answer_type(kind))
            except msgspec.ValidationError:
                return ""
            return found.text() if isinstance(found, Answer) else ""
    return ""
