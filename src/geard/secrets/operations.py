"""Secrets, kept and forgotten. A new value acts at the next start of the gears that are given it."""

from __future__ import annotations

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.host.storage import Changes
from geard.secrets import store
from geard.secrets.requests import (
    CreateSecret,
    ListSecrets,
    RemovedSecret,
    RemoveSecret,
    SecretList,
    StoredSecret,
)
from geard.secrets.uses import check_secret, check_value


@operation
async def create_secret(request: CreateSecret, work: Work) -> StoredSecret:
    check_secret(request.id)
    check_value(request.value)
    paths = work.host.paths

    def keep() -> StoredSecret:
        with Changes() as changes:
            changed = store.keep(paths, changes, request.id, request.value, work.id, replace=request.replace)
        using = store.users(paths).get(request.id, ()) if changed else ()
        return StoredSecret(id=request.id, changed=changed, used_by=tuple(using))

    return await work.on_disk(keep)


@operation
async def list_secrets(request: ListSecrets, work: Work) -> SecretList:
    found = await work.on_disk(store.listed, work.host.paths)
    return SecretList(secrets=tuple(row for row in found if work.asker.reaches(row.id)))


@operation
async def remove_secret(request: RemoveSecret, work: Work) -> RemovedSecret:
    check_secret(request.id)

    def remove() -> bool:
        with Changes() as changes:
            return store.remove(work.host.paths, changes, request.id, force=request.force)

    return RemovedSecret(id=request.id, removed=await work.on_disk(remove))
