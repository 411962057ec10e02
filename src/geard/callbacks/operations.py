"""Looking at callbacks, and putting them right by hand. The agent sees what was changed within ten seconds."""

from __future__ import annotations

import time

from geard.callbacks import signing, tries
from geard.callbacks.outbox import Outbox, shown
from geard.callbacks.requests import (
    Callback,
    CallbackKey,
    CallbackList,
    GetCallback,
    GetCallbackKey,
    ListCallbacks,
    RemoveCallback,
    RemovedCallback,
    RetryCallback,
)
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import PreconditionFailed


@operation
async def list_callbacks(request: ListCallbacks, work: Work) -> CallbackList:
    entries = await work.on_disk(Outbox(work.host.paths).entries)
    return CallbackList(callbacks=tuple(map(shown, entries)))


@operation
async def get_callback(request: GetCallback, work: Work) -> Callback:
    return shown(await work.on_disk(Outbox(work.host.paths).get, request.id), body=True)


@operation
async def retry_callback(request: RetryCallback, work: Work) -> Callback:
    outbox = Outbox(work.host.paths)
    entry = await work.on_disk(outbox.get, request.id)
    if entry.state == "running":
        raise PreconditionFailed(f"request {entry.id} has not ended: there is nothing to tell yet")
    entry = await work.on_disk(outbox.change, request.id, lambda entry: tries.anew(entry, time.time()))
    return shown(entry)


@operation
async def remove_callback(request: RemoveCallback, work: Work) -> RemovedCallback:
    removed = await work.on_disk(Outbox(work.host.paths).remove, request.id)
    return RemovedCallback(id=request.id, removed=removed)


@operation
async def get_callback_key(request: GetCallbackKey, work: Work) -> CallbackKey:
    return CallbackKey(key=await work.on_disk(signing.key, work.host.paths))
