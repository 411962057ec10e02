"""Who holds a link may ask what is sealed in it: as its maker, and no more than that one may at this moment."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import time
from datetime import UTC, datetime

from geard.content import spent
from geard.content.requests import LONGEST_SECONDS
from geard.content.sealing import Maker, unseal
from geard.dispatch.entered import Entered
from geard.failures import Denied
from geard.host import Host
from geard.request import Asker

PREFIX = "/token/"
GROUP = "geard"


def shown(path: str) -> str:
    """The path as the journal has it: who reads that holds no link."""
    sealed = path.removeprefix(PREFIX).partition("/")[0]
    return f"{PREFIX}({spent.digest(sealed)[:12]})"


async def enter(host: Host, path: str) -> Entered:
    """Raises Unauthenticated for what is no link, Denied where it has expired, was used, or its maker may no more.

    What may stand behind a `/` after the link is for who saves it to a file, and means nothing.
    """
    text = path.removeprefix(PREFIX).partition("/")[0]
    sealed = await asyncio.to_thread(unseal, host.paths, text)
    _check_time(sealed.expires, time.time())
    maker = await asyncio.to_thread(standing, sealed.maker)
    changes = bool(sealed.request_id)

    async def spend() -> None:
        if changes:
            await asyncio.to_thread(spent.spend, host.paths, text, sealed.expires)

    return Entered(
        asker=maker,
        methods=tuple(sorted({"POST", sealed.method})) if changes else ("GET",),
        method=sealed.method,
        path=sealed.path,
        query=sealed.query,
        body=sealed.body.encode(),
        expires=sealed.expires,
        request_id=sealed.request_id,
        spend=spend,
    )


def standing(maker: Maker) -> Asker:
    """The maker as an asker, with those scopes that were held then and are now. Raises Denied."""
    if maker.uid != 0 and not _in_group(maker.uid):
        raise Denied(f"{maker.name}, who made this link, may not ask this agent any more")
    return Asker(f"content token of {maker.name}", frozenset(maker.scopes), maker.uid)


def _check_time(expires: float, now: float) -> None:
    """Raises Denied; also where it would work for longer than any may, by a clock that was put back."""
    if not expires - LONGEST_SECONDS - 60 <= now < expires:
        when = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")
        raise Denied(f"this link expired at {when}", hint="ask its maker for another")


def _in_group(uid: int) -> bool:
    try:
        user = pwd.getpwuid(uid)
        return grp.getgrnam(GROUP).gr_gid in os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        return False
