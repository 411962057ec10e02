"""Who holds a link may ask what is sealed in it: as its maker, and no more than that one may at this moment."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import time
from dataclasses import replace
from datetime import UTC, datetime

from geard.content import spent
from geard.content.requests import LONGEST_SECONDS
from geard.content.sealing import Maker, unseal
from geard.dispatch.entered import Entered
from geard.failures import Denied
from geard.host import Host
from geard.host.paths import Paths
from geard.request import SCOPES, Asker
from geard.trust.grants import Kind, asker_of, place, read

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
    maker = await asyncio.to_thread(standing, host.paths, sealed.maker)
    granted = sealed.maker.uid is None
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
        holds=(lambda: standing(host.paths, sealed.maker)) if granted else None,
        spend=spend,
    )


def standing(paths: Paths, maker: Maker) -> Asker:
    """The maker as an asker, with what was held then and still is. Raises Denied."""
    now = _known(maker.uid) if maker.uid is not None else _granted(paths, maker)
    if now is None:
        raise Denied(f"{maker.name}, who made this link, may not ask this agent any more")
    scopes = now.scopes & frozenset(maker.scopes)
    return replace(now, name=f"content token of {maker.name}", scopes=scopes)


def _known(uid: int) -> Asker | None:
    return Asker("", SCOPES["admin"], uid) if uid == 0 or _in_group(uid) else None


def _granted(paths: Paths, maker: Maker) -> Asker | None:
    """None where the grant is gone, has expired, or another was made under its name since."""
    kind, _, name = maker.credential.partition(" ")
    if kind not in ("token", "certificate"):
        return None
    known: Kind = "token" if kind == "token" else "certificate"
    grant = read(place(paths, known, name))
    if grant is None or grant.expired(datetime.now(UTC)):
        return None
    later = datetime.fromisoformat(grant.created).timestamp() > maker.at
    return None if later else asker_of(known, grant)


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
