"""Git by HTTP: the same programs, in the same container, by the same users, as by SSH; who may, a token says.

Scope *read* fetches, *operate* pushes. A push holds nothing of its pack here: what comes goes on to git.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from geard.dispatch.plain import Ask, Plain
from geard.failures import Denied, Failure, NotFound, Unauthenticated, Unavailable
from geard.host import Host
from geard.host.attached import output_of
from geard.host.paths import Paths
from geard.host.process import ProgramFailed
from geard.identifiers import check_id
from geard.repositories import folders, githost
from geard.repositories.over_http import PREFIX as GIT
from geard.repositories.over_http import Wanted, parse_wanted, unpacked
from geard.sessions import listing

PREFIX = GIT
RUNS_PROGRAMS = True
_UNCACHED = {"Cache-Control": "no-cache, max-age=0, must-revalidate"}


def refusal(failure: Failure, status: int) -> Plain:
    """In text, which git shows; and with the word at which it asks for user and password, or looks them up."""
    text = failure.message + (f" ({failure.hint})" if failure.hint else "")
    asked = {"WWW-Authenticate": 'Basic realm="geard: any user, a token for password"'}
    return Plain(
        status,
        {**_UNCACHED, "Content-Type": "text/plain; charset=utf-8"}
        | (asked if isinstance(failure, Unauthenticated) else {}),
        f"{text}\n".encode(),
    )


async def answer(host: Host, ask: Ask) -> Plain:
    """Raises Denied, NotFound, Invalid, Unavailable."""
    ask.check_scope("read")
    wanted = parse_wanted(ask.method, ask.path, ask.query, ask.headers)
    id, number = await asyncio.to_thread(_found, host.paths, wanted.name, ask)
    if wanted.pushes and not ask.asker.may("operate"):
        raise Denied(f"{ask.asker.name} may fetch {id}, not push to it", hint="that takes scope operate")
    await githost.ready(host)
    environment = {"GEARD_BY": ask.asker.name}
    if wanted.protocol:
        environment["GIT_PROTOCOL"] = wanted.protocol
    program = githost.Program(number, (*wanted.command, githost.repository(id)), environment=environment)
    argv, variables = githost.command_line(host, program, stdin=not wanted.listing)
    facts = {
        "Gear": f"repo://{id}", "By": ask.asker.name, "Key": "", "Source": ask.source, "Program": wanted.service,
        "Tty": "no",
    }  # fmt: skip
    given = None
    if not wanted.listing and ask.body is not None:
        given = unpacked(ask.body(), ask.headers.get("content-encoding", ""))
    said = output_of(argv, variables | listing.note(host.paths, facts), given)
    try:
        first = await anext(said, b"")
    except ProgramFailed as failed:
        why = failed.errors.strip()[-300:] or f"it ended with {failed.status}"
        raise Unavailable(f"git says no more about {id}: {why}", hint=f"systemctl status {githost.UNIT}") from None
    return Plain(200, {**_UNCACHED, "Content-Type": wanted.type}, output=_said(wanted, first, said))


def _found(paths: Paths, name: str, ask: Ask) -> tuple[str, int]:
    """Who may ask about some is told nothing about others. Raises Denied, NotFound."""
    short = name.removesuffix(".git")
    missing: NotFound | None = None
    for id in dict.fromkeys((name, short)):
        try:
            ask.asker.check_reach([check_id(id, "repository")])
            return id, folders.number(paths, id)
        except NotFound as error:
            missing = error
        except Denied:
            if id == short:
                raise
    assert missing is not None
    raise missing


async def _said(wanted: Wanted, first: bytes, said: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(said):
        yield wanted.first + first
        try:
            async for piece in said:
                yield piece
        except ProgramFailed:
            return  # what went wrong it has said itself, in words that git's clients know
