"""Who asks one request: the connection's own word, or the token that stands in it; and how often one may be wrong.

A token is looked at with each request, and so is a certificate: revoking acts on connections that are open.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from geard.daemon.doors import Caller
from geard.failures import Denied, Failure, Invalid, TooMany, Unauthenticated
from geard.request import Asker, Request, Route
from geard.trust.bearers import parse_bearer
from geard.trust.grants import Grants

REFUSALS = 10
"""in a row; then one every SECONDS_EACH"""
SECONDS_EACH = 6.0
SOURCES = 4_096
"""that are remembered"""


class TooManyRefusals(TooMany):
    """On the wire its kind is TooMany."""

    def __init__(self, seconds: float) -> None:
        super().__init__("too many requests from there could not say who asks", hint="wait, and look at the token")
        self.retry_after = int(seconds) + 1

    @property
    def kind(self) -> str:
        return "TooMany"


class Refusals:
    """How often each source was refused of late. Of too many, those that were quiet longest are forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()
        """when a source that is refused no more has made up for all it did"""

    def check(self, source: str) -> None:
        """Raises TooManyRefusals."""
        over = self._free_at.get(source, 0.0) - self._clock() - (REFUSALS - 1) * SECONDS_EACH
        if over > 0:
            raise TooManyRefusals(over)

    def add(self, source: str) -> None:
        if not source:
            return
        now = self._clock()
        self._free_at[source] = max(self._free_at.pop(source, 0.0), now) + SECONDS_EACH
        if len(self._free_at) > SOURCES:
            self._free_at.popitem(last=False)

    def __len__(self) -> int:
        return len(self._free_at)


@dataclass
class Visit:
    """One connection: who it is, and whether it is still there."""

    caller: Caller
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    abort: Callable[[], None] = lambda: None
    welcome: Callable[[], None] = lambda: None
    """to be called when it has turned out to be somebody's who may ask"""
    holds: Callable[[], Asker] | None = None
    """whether what the last request was let in by still holds"""

    @property
    def door(self) -> str:
        return self.caller.door

    def expel(self) -> None:
        """End it, whatever it is in the middle of, if that does not hold any more."""
        if self.holds is not None:
            try:
                self.holds()
            except Failure:
                self.abort()


class Admission:
    def __init__(self, grants: Grants | None, refusals: Refusals | None = None) -> None:
        self._grants = grants
        self._refusals = refusals or Refusals()

    def asker(self, visit: Visit, authorization: Sequence[str], *, basic: bool = False) -> Asker:
        """Who asks, given the Authorization headers of the request: a token that is shown is what counts. `basic`:
        also as a password, whatever the user's name is; and who shows nothing made no guess, since clients show it
        only when they are asked.

        Raises Unauthenticated, Denied, TooManyRefusals.
        """
        caller = visit.caller
        if isinstance(caller.asker, Asker) and not authorization:
            visit.holds = caller.again
            return caller.again() if caller.again is not None else caller.asker
        # Nothing is looked at for who was wrong too often. A certificate and the kernel's word are no guesses, and
        # not held up by others' behind the same address.
        self._refusals.check(caller.source)
        try:
            if authorization and self._grants is not None:
                bearer = parse_bearer(_bearer(authorization, basic=basic))
                if bearer is None:
                    raise Unauthenticated("that is no token of geard's", hint="gear token create NAME makes one")
                grants = self._grants
                asker = grants.bearer(bearer)
                visit.welcome()
                visit.holds = lambda: grants.bearer(bearer)
                return asker
            assert isinstance(caller.asker, Failure)
            if basic:  # a client shows what it has when it hears 401, and no other word
                raise Unauthenticated(caller.asker.message, hint=caller.asker.hint)
            raise caller.asker
        except Failure:
            if authorization or not basic:
                self._refusals.add(caller.source)
            raise


def _bearer(authorization: Sequence[str], *, basic: bool) -> str:
    """Raises Unauthenticated for another scheme than RFC 6750's, Invalid for two at once."""
    if len(authorization) != 1:
        raise Invalid("the request says twice who asks")
    scheme, _, token = authorization[0].partition(" ")
    if basic and scheme.lower() == "basic":
        return _password(token.strip())
    if scheme.lower() != "bearer":
        raise Unauthenticated(
            f"{scheme[:20]!r} is no way to say who asks here", hint="Authorization: Bearer TOKEN"
        )
    return token.strip()


def _password(text: str) -> str:
    """What stands behind the user's name (RFC 7617); empty where there is none."""
    try:
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def check_scope(asker: Asker, route: Route, what: str) -> None:
    """Raises Denied where they may not ask that at all."""
    if not asker.may(route.scope):
        raise Denied(f"{asker.name} may not {what}", hint=f"it takes scope {route.scope}")
    if asker.only and route.reach == "machine":
        only = ", ".join(asker.only)
        raise Denied(f"{asker.name} may not {what}", hint=f"it concerns the whole machine; only about {only}")


def check_reach(asker: Asker, route: Route, request: Request[object]) -> None:
    """Raises Denied where it is about an id that is beyond their reach, or cannot be told to be within."""
    if not asker.only:
        return
    names = tuple(request.names())
    if not names and route.reach == "ids":
        only = ", ".join(asker.only)
        raise Denied(f"{asker.name} may not ask that of all", hint=f"name what it is about; only about {only}")
    asker.check_reach(names)
