"""The versions of a gear, and in words what each changed. Pure, but for reading them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from geard.containers import versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.containers.host_users import show_host_user
from geard.containers.limits import shown
from geard.containers.requests import History, KeptVersion
from geard.ports.pairs import describe_mapping
from geard.ports.requests import PublishedPorts
from geard.words import builtins_of, part_of

_NOT_TOLD = {
    *("Version", "Written", "Created", "By", "Origins", "Id", "ImageId", "Digest"),
    *("Limits", "Labels", "VolumeConfig", "HostUser", "Level"),
}
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
    """What `after` changed, a few words for each thing: `image nginx:1.26 -> nginx:1.27`."""
    old, new = _flat(before), _flat(after)
    if before.image == after.image and before.image_id != after.image_id:
        yield f"image {after.image} is another now: {_short(before.image_id)} -> {_short(after.image_id)}"
    for name in [*new, *(name for name in old if name not in new)]:
        if old.get(name) != new.get(name):
            yield f"{name} {old.get(name) or 'none'} -> {new.get(name) or 'none'}"


def _flat(definition: Definition) -> dict[str, str]:
    """A definition in the words its install has them, limits, labels and volumes one by one."""
    values = builtins_of(definition)
    found = {name.lower(): _show(value) for name, value in values.items() if name not in _NOT_TOLD}
    found |= shown(definition.limits)
    found |= {
        "command": shlex.join(definition.command),
        "entrypoint": "" if definition.entrypoint is None else shlex.join(definition.entrypoint),
        "ports": _ports(definition),
        "host-user": show_host_user(definition.host_user),
    }
    found |= {f"label {name}": value for name, value in definition.labels.items()}
    found |= {f"volume {volume.path}": "kept" for volume in definition.volume_config.volumes}
    for mount in definition.volume_config.volume_mounts:
        found[f"volume {mount.host_path}"] = f"{mount.path}{' read only' if mount.read_only else ''}"
    return found


def _short(image_id: str) -> str:
    """As engines show it."""
    return image_id.removeprefix("sha256:")[:12] or "none"


def _ports(definition: Definition) -> str:
    ports = part_of(PublishedPorts, definition.parts)
    return describe_mapping(ports.value) if ports is not None else ""


def _show(value: object) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}…"
