"""A URL that is to be told when a request has ended: `Callback: URL` beside it, or `?callback=URL`.

Taken here for every route alike. It is no part of the request, so no request has a field for it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from multidict import CIMultiDictProxy

from geard.dispatch.dispatcher import Dispatcher
from geard.exchange import Session
from geard.failures import Invalid, Unavailable
from geard.request import Request, Route, answer_type
from geard.transport.wire import CALLBACK


def take_callback(headers: CIMultiDictProxy[str], query: MutableMapping[str, str]) -> str:
    """The URL, empty where none is named; it is taken out of `query`. Raises Invalid where two are named."""
    named = set(headers.getall(CALLBACK, []))
    if (asked := query.pop("callback", None)) is not None:
        named.add(asked)
    if len(named) > 1:
        raise Invalid("two callbacks are named", hint="one URL, in the header or in the query")
    if "" in named:
        raise Invalid("the callback names no URL")
    return named.pop() if named else ""


def check_callback(dispatcher: Dispatcher, url: str, route: Route, kind: type[Request[Any]]) -> None:
    """Raises Invalid, Full; Unavailable in the agent's first moments."""
    if not route.mutates or answer_type(kind) is Session:
        raise Invalid(f"{kind.__name__} has no end to be told of", hint="a callback goes with a change")
    if dispatcher.callbacks is None:
        raise Unavailable("the agent has just begun and keeps no callbacks yet", hint="ask again in a moment")
    dispatcher.callbacks.check(url)
