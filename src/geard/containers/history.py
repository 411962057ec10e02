"""The versions of a gear, and in words what each changed. Pure, but for reading them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from geard.containers import versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.requests import History, KeptVersion
from geard.words import builtins_of

_NOT_TOLD = {"Version", "Written", "By", "Origins", "Id", "Digest"}
_LENGTH = 60


def history(folders: Folders) -> History:
    """Raises NotFound."""
    now = versions.require(folders)
    running = versions.running(folders)
    known = versions.recorded(folders)
    older = [*known[1:], None]
    rows = [
        KeptVersion(
            version=each.version,
            written=each.written,
            by=each.by,
            installed=each.version == now.version,
            running=each.version == running,
            image=each.image,
            image_id=each.image_id,
            digest=each.digest,
            engine=each.engine,
            changes=tuple(compare(before, each)) if before is not None else (),
        )
        for each, before in zip(known, older, strict=True)
    ]
    return History(id=folders.id, versions=tuple(rows))


def compare(before: Definition, after: Definition) -> Iterator[str]:
    """What `after` changed, a few words for each key: `image nginx:1.26 -> nginx:1.27`."""
    old, new = _flat(builtins_of(before)), _flat(builtins_of(after))
    for key in [*new, *(key for key in old if key not in new)]:
        if old.get(key) != new.get(key):
            yield f"{key.lower()} {_show(old.get(key))} -> {_show(new.get(key))}"


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Limits and labels one by one, the rest as it is."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in _NOT_TOLD:
            continue
        if key in ("Limits", "Labels"):
            inner = cast("dict[str, Any]", value)
            found |= {(name if key == "Limits" else f"label {name}"): item for name, item in inner.items()}
        else:
            found[key] = value
    return found


def _show(value: object) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}…"
