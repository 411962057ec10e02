"""Making content tokens, and ending all of them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

from geard.content import keys
from geard.content.requests import LONGEST_SECONDS, ContentToken, CreateContentToken, RevokeContentTokens
from geard.content.sealing import LIMIT, Maker, Sealed, seal
from geard.dispatch.operation import all_operations, operation
from geard.dispatch.work import Work
from geard.exchange import Session
from geard.failures import Denied, Invalid, TooLarge
from geard.identifiers import new_request_id
from geard.request import Asker, Nothing, Request, answer_type

_ROOM = (CreateContentToken, RevokeContentTokens)


@operation
async def create_content_token(request: CreateContentToken, work: Work) -> ContentToken:
    if not 1 <= request.seconds <= LONGEST_SECONDS:
        raise Invalid(
            f"a link cannot work for {request.seconds} seconds", hint=f"1 to {LONGEST_SECONDS}, which is a day"
        )
    if not _plain(request.path) or not _plain(request.query):
        raise Invalid("a path and a query are printable ASCII, without blanks", hint="what else there is as %XX")
    kind = _asked(request.method, request.path)
    maker = _check(kind, work.asker)
    assert kind.route is not None
    expires = time.time() + request.seconds
    sealed = Sealed(
        method=request.method,
        path=request.path,
        query=request.query,
        body=request.body,
        expires=expires,
        maker=maker,
        request_id=new_request_id() if kind.route.mutates else "",
    )
    text = await work.on_disk(seal, work.host.paths, sealed)
    if len(text) > LIMIT:
        raise TooLarge(f"that makes a link of {len(text)} characters", hint=f"{LIMIT} at most: a shorter body")
    return ContentToken(
        path=f"/token/{text}",
        expires=datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds"),
        once=kind.route.mutates,
        request_id=sealed.request_id,
    )


@operation
async def revoke_content_tokens(request: RevokeContentTokens, work: Work) -> Nothing:
    await work.on_disk(keys.forget_all, work.host.paths)
    return Nothing()


def _plain(text: str) -> bool:
    """Whether it can stand in a line of HTTP, and of the journal."""
    return text.isascii() and (not text or text.isprintable()) and " " not in text


def _asked(method: str, path: str) -> type[Request[Any]]:
    """The kind of request that a method and a path ask. Raises Invalid."""
    fitting: list[tuple[int, type[Request[Any]]]] = []
    for kind in all_operations():
        route = kind.route
        if route is None or method not in (route.method, *route.also):
            continue
        shape = re.sub(r"\\\{\w+\\\}", "[^/?#]+", re.escape(route.path))
        if re.fullmatch(shape, path, re.ASCII):
            fitting.append((route.path.count("{"), kind))
    if not fitting:
        raise Invalid(f"there is no {method[:20]} {path[:300]} here", hint="gear routes lists what there is")
    return min(fitting, key=lambda found: found[0])[1]


def _check(kind: type[Request[Any]], asker: Asker) -> Maker:
    """Raises Denied for what no link may ask, or not one of this asker's."""
    assert kind.route is not None
    if kind in _ROOM or kind.secret_answer:
        raise Denied(f"no link may ask {kind.__name__}", hint="its answer is for the asker's own eyes")
    if answer_type(kind) is Session:
        raise Denied(f"no link may ask {kind.__name__}", hint="a session takes more than a link")
    if not asker.may(kind.route.scope):
        raise Denied(f"{asker.name} may not ask that", hint=f"it takes scope {kind.route.scope}")
    return Maker(
        name=asker.name,
        scopes=tuple(sorted(asker.scopes)),
        uid=asker.uid,
        credential=asker.credential,
        at=time.time(),
    )
