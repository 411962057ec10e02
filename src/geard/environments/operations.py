"""Environments, read and changed. A change acts at the next start of the gears that read it."""

from __future__ import annotations

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.environments import store
from geard.environments.file import check_name, check_variables, parse_lines
from geard.environments.requests import (
    DeleteEnvironment,
    GetEnvironment,
    PatchEnvironment,
    SetEnvironment,
    Variable,
    Variables,
)
from geard.environments.settings import FetchSettings
from geard.environments.sources import check_source
from geard.failures import NotFound
from geard.host import Host
from geard.host.fetch import fetch_text
from geard.host.storage import Changes
from geard.identifiers import check_id
from geard.request import Nothing


@operation
async def get_environment(request: GetEnvironment, work: Work) -> Variables:
    check_id(request.id, "environment")
    found = await work.on_disk(store.load, work.host.paths, request.id)
    if found is None:
        raise NotFound(
            f"there is no environment {request.id}", hint=f"gear set-env {request.id} NAME=VALUE makes it"
        )
    return Variables(id=request.id, variables=tuple(Variable(name=n, value=v) for n, v in found.items()))


@operation
async def set_environment(request: SetEnvironment, work: Work) -> Nothing:
    check_source(request.source, work.asker, work.host)
    variables = await _gathered(work.host, request.source, request.variables, request.id)

    def write() -> None:
        with Changes() as changes:
            store.replace(work.host.paths, changes, request.id, variables)

    await work.on_disk(write)
    return Nothing()


@operation
async def patch_environment(request: PatchEnvironment, work: Work) -> Nothing:
    for name in request.remove:
        check_name(name)
    check_source(request.source, work.asker, work.host)
    variables = await _gathered(work.host, request.source, request.variables, request.id)

    def write() -> None:
        with Changes() as changes:
            store.patch(work.host.paths, changes, request.id, variables, request.remove)

    await work.on_disk(write)
    return Nothing()


@operation
async def delete_environment(request: DeleteEnvironment, work: Work) -> Nothing:
    check_id(request.id, "environment")

    def remove() -> None:
        with Changes() as changes:
            store.delete(work.host.paths, changes, request.id)

    await work.on_disk(remove)
    return Nothing()


async def _gathered(host: Host, source: str, variables: tuple[Variable, ...], id: str) -> dict[str, str]:
    """What the source says, then what was given. Raises Invalid before anything is written."""
    check_id(id, "environment")
    allow = host.settings.section(FetchSettings).allow if source else ()
    found = parse_lines(await fetch_text(source, allow)) if source else {}
    found |= store.as_mapping(variables)
    check_variables(found)
    return found
