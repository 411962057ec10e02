"""Keys, given and taken. What changes acts at the next login."""

from __future__ import annotations

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import Invalid
from geard.host.storage import Changes
from geard.identifiers import check_id
from geard.keys import store
from geard.keys.public import PublicKey, id_start, parse_all
from geard.keys.requests import AddedKeys, AddKeys, KeyList, ListKeys, RemovedKeys, RemoveKeys

NO_REPOSITORIES = "there are no repositories yet that a key could open"


@operation
async def add_keys(request: AddKeys, work: Work) -> AddedKeys:
    keys, ids = _asked(request)
    await work.on_disk(store.add, work.host.paths, keys, ids)
    return AddedKeys(ids=ids, keys=tuple(key.fingerprint for key in keys))


def _asked(request: AddKeys) -> tuple[tuple[PublicKey, ...], tuple[str, ...]]:
    """Raises Invalid."""
    for text in request.keys:
        if text.type != "authorized_keys":
            raise Invalid(f"{text.type[:80]!r} is no form of keys", hint="authorized_keys")
    for permission in request.permissions:
        if permission.type == "repository":
            raise Invalid(NO_REPOSITORIES)
        if permission.type not in ("container", ""):
            raise Invalid(f"{permission.type[:80]!r} is nothing that keys open", hint="container")
        if not isinstance(permission.with_, str):
            raise Invalid("a permission says no container", hint='{"Type": "container", "With": "web-1"}')
    if request.repositories:
        raise Invalid(NO_REPOSITORIES)
    if not request.names():
        raise Invalid(
            "no gear is named that the keys are to open", hint='{"Keys": […], "Containers": [{"Id": …}]}'
        )
    ids = tuple(check_id(id) for id in request.names())
    return parse_all([(f"key {number}", text.value.strip()) for number, text in enumerate(request.keys, 1)]), ids


@operation
async def list_keys(request: ListKeys, work: Work) -> KeyList:
    if request.id:
        check_id(request.id)
    found = await work.on_disk(lambda: tuple(store.listed(work.host.paths, request.id)))
    return KeyList(keys=tuple(key for key in found if work.asker.reaches(key.id)))


@operation
async def remove_keys(request: RemoveKeys, work: Work) -> RemovedKeys:
    check_id(request.id)
    if bool(request.key) == request.all:
        raise Invalid("which key?", hint="its fingerprint, as gear list-keys shows it; or all")
    start = "" if request.all else id_start(request.key)

    def remove() -> list[str]:
        with Changes() as changes:
            return store.remove(work.host.paths, changes, request.id, start)

    return RemovedKeys(id=request.id, keys=tuple(await work.on_disk(remove)))
