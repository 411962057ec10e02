"""The fields of geard's own entries in the journal, by which it is searched: `journalctl GEARD_REQUEST_ID=…`.

Values that hold for all that is done for one request stand in a context (contextvars(3) of Python) and so reach
whatever is logged on its behalf, in tasks too; further ones go with a single line:

    with_fields({REQUEST_ID: id, ASKER: "uid 0 (root)"})
    log.info("…", extra=also({STATUS: "200"}))
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

REQUEST_ID = "GEARD_REQUEST_ID"
ASKER = "GEARD_ASKER"
"""who asked, as in `uid 0 (root)`"""
DOOR = "GEARD_DOOR"
"""how they came in: `unix socket`, `loopback`, `terminal`, …"""
ROUTE = "GEARD_ROUTE"
"""method and pattern: `PUT /container/{id}`"""
REQUEST = "GEARD_REQUEST"
"""the request's name: `InstallContainer`"""
STATUS = "GEARD_STATUS"
"""of the answer, as HTTP has it"""
GEAR = "GEARD_GEAR"
ENVIRONMENT = "GEARD_ENVIRONMENT"
SECRET = "GEARD_SECRET"
REPOSITORY = "GEARD_REPOSITORY"
EVENT = "GEARD_EVENT"
"""one word for what happened to the gear: `installed`, `started`, `failed`, …"""
REASON = "GEARD_REASON"
KIND = "GEARD_FAILURE"
"""the kind of a failure: `NotFound`, …"""

_OF_PATHS = {"container": GEAR, "environment": ENVIRONMENT, "secret": SECRET, "repository": REPOSITORY}
_current: ContextVar[Mapping[str, str]] = ContextVar("journal fields", default={})  # noqa: B039 - it is never changed


def with_fields(fields: Mapping[str, str]) -> None:
    """From here on, in this task and those it makes, entries have these fields, and no others of before."""
    _current.set(fields)


def current() -> Mapping[str, str]:
    return _current.get()


def also(fields: Mapping[str, str]) -> dict[str, Any]:
    """`fields` for one line, as `logging` takes them along."""
    return {"fields": fields}


def about(path: str, id: str) -> dict[str, str]:
    """Which thing a request is about, told from its route's path."""
    name = _OF_PATHS.get(path.split("/")[1] if path else "")
    return {name: id} if name and id else {}
