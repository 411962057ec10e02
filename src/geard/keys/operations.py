"""Keys, given and taken. What changes acts at the next login."""

from __future__ import annotations

from collections.abc import Callable

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import Invalid
from geard.host.paths import Paths
from geard.host.storage import Changes
from geard.identifiers import check_id
from geard.keys import store
from geard.keys.public import PublicKey, id_start, parse_all
from geard.keys.requests import (
    AddedKeys,
    AddKeys,
    KeyedRepository,
    KeyList,
    ListedKey,
    ListKeys,
    RemovedKeys,
    RemoveKeys,
    RemoveRepositoryKeys,
)


@operation
async def add_keys(request: AddKeys, work: Work) -> AddedKeys:
    keys = _asked(request)
    ids, repositories = request.gears(), request.keyed_repositories()
    await work.on_disk(store.add, work.host.paths, keys, ids, repositories)
    fingerprints = tuple(key.fingerprint for key in keys)
    return AddedKeys(ids=ids, keys=fingerprints, repositories=tuple(each.id for each in repositories))


def _asked(request: AddKeys) -> tuple[PublicKey, ...]:
    """Raises Invalid."""
    for text in request.keys:
        if text.type != "authorized_keys":
            raise Invalid(f"{text.type[:80]!r} is no form of keys", hint="authorized_keys")
    for permission in request.permissions:
        if permission.type not in ("container", "", "repository"):
            raise Invalid(f"{permission.type[:80]!r} is nothing that keys open", hint="container or repository")
        if permission.type == "repository" and not isinstance(permission.with_, KeyedRepository):
            raise Invalid(
                "a permission says no repository",
                hint='{"Type": "repository", "With": {"Id": "shop", "Write": true}}',
            )
        if permission.type != "repository" and not isinstance(permission.with_, str):
            raise Invalid("a permission says no container", hint='{"Type": "container", "With": "web-1"}')
    for id in request.gears():
        check_id(id)
    for each in request.keyed_repositories():
        check_id(each.id, "repository")
    if len({each.id for each in request.keyed_repositories()}) < len(request.keyed_repositories()):
        raise Invalid("a repository is named both to read and to write", hint="who may write may read too")
    if not request.names():
        raise Invalid(
            "no gear or repository is named that the keys are to open",
            hint='{"Keys": […], "Containers": [{"Id": …}]}',
        )
    return parse_all([(f"key {number}", text.value.strip()) for number, text in enumerate(request.keys, 1)])


@operation
async def list_keys(request: ListKeys, work: Work) -> KeyList:
    for id, what in ((request.id, "gear"), (request.repository, "repository")):
        if id:
            check_id(id, what)
    paths = work.host.paths

    def look() -> list[ListedKey]:
        gears = [] if request.repository else list(store.listed(paths, request.id))
        repositories = [] if request.id else list(store.listed_of_repositories(paths, request.repository))
        return gears + repositories

    return KeyList(keys=tuple(key for key in await work.on_disk(look) if work.asker.reaches(key.id)))


@operation
async def remove_keys(request: RemoveKeys, work: Work) -> RemovedKeys:
    check_id(request.id)
    return await _remove(request, work, store.remove)


@operation
async def remove_repository_keys(request: RemoveRepositoryKeys, work: Work) -> RemovedKeys:
    check_id(request.id, "repository")
    return await _remove(request, work, store.remove_of_repository)


async def _remove(
    request: RemoveKeys | RemoveRepositoryKeys,
    work: Work,
    take: Callable[[Paths, Changes, str, str], list[str]],
) -> RemovedKeys:
    if bool(request.key) == request.all:
        raise Invalid("which key?", hint="its fingerprint, as gear list-keys shows it; or all")
    start = "" if request.all else id_start(request.key)

    def remove() -> list[str]:
        with Changes() as changes:
            return take(work.host.paths, changes, request.id, start)

    return RemovedKeys(id=request.id, keys=tuple(await work.on_disk(remove)))
