"""Who is told of a repository's pushes: a URL, by the outbox of callbacks, and so signed, and again for a day.

git-users/1000.webhook      the URL, of the repository whose number that is
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from geard.callbacks.outbox import Entry, Outbox, check_room, rfc3339
from geard.callbacks.settings import CallbackSettings
from geard.events.entries import note
from geard.failures import Full, NotFound
from geard.host import Host
from geard.host.fetch import check_target
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, read_text
from geard.repositories import folders, pushes
from geard.repositories.pushes import Push

log = logging.getLogger(__name__)

BODY_LIMIT = 64 * 1024
"""bytes; of the changes beyond it only the number is told"""


def _place(paths: Paths, id: str) -> Path:
    """Raises NotFound."""
    return folders.users_folder(paths) / f"{folders.number(paths, id)}.webhook"


def of(paths: Paths, id: str) -> str:
    """Empty where nobody is told. Raises NotFound."""
    return (read_text(_place(paths, id)) or "").strip()


def set_(host: Host, id: str, url: str) -> None:
    """Raises NotFound, Invalid, Denied."""
    check_target(url, host.settings.section(CallbackSettings).allow)
    folders.number(host.paths, id)
    with Changes() as changes, locked(folders.folder(host.paths)):
        changes.write(_place(host.paths, id), f"{url}\n", 0o600)


def remove(paths: Paths, id: str) -> bool:
    """False where nobody was told. Raises NotFound."""
    folders.number(paths, id)
    with Changes() as changes, locked(folders.folder(paths)):
        return changes.remove(_place(paths, id))


def tell(host: Host) -> None:
    """Have everybody know of the pushes that hooks have left word of: the journal, and who wants to."""
    for push in pushes.taken(host.paths):
        note(host.journal, "pushed", push.shown(), repository=push.repository, by=push.by)
        with suppress(NotFound):  # deleted just now
            if url := of(host.paths, push.repository):
                _promise(host, push, url)


def _promise(host: Host, push: Push, url: str) -> None:
    outbox, at = Outbox(host.paths), rfc3339(push.at)
    entry = Entry(
        id=push.id, url=url, what=f"push to {push.repository}", asker=push.by, accepted=at, ended=at,
        body=render_body(push, socket.gethostname()),
    )  # fmt: skip
    try:
        check_room(outbox.entries())
    except Full as failure:
        log.warning("nobody is told of a push to %s: %s", push.repository, failure.message)
        return
    outbox.promise(entry)


def render_body(push: Push, machine: str) -> str:
    """Pure."""
    words: dict[str, Any] = {
        "Event": "pushed", "Host": machine, "Repository": push.repository, "By": push.by, "At": rfc3339(push.at),
        "Changes": [], "Omitted": 0,
    }  # fmt: skip
    left = BODY_LIMIT - len(msgspec.json.encode(words))
    for number, change in enumerate(push.changes):
        told = {"Ref": change.ref, "Old": change.old, "New": change.new}
        left -= len(msgspec.json.encode(told)) + 1
        if left < 0:
            words["Omitted"] = len(push.changes) - number
            break
        words["Changes"].append(told)
    return msgspec.json.encode(words).decode()
