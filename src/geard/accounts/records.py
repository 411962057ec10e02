"""User records as files (systemd-userdbd(8), "drop-in"): in /run, and made again from the slots at each boot.

    /run/userdb/ctr-web.user      2065536.user -> ctr-web.user
    /run/userdb/ctr-web.group     2065536.group -> ctr-web.group
    /run/userdb/ctr-web:geard-logins.membership      lets it come to geard-join.socket
    /run/userdb/2065536.geard -> ctr-web.user        keeps user@2065536.service from being started (its drop-in)

Standard library only: `gear-accounts` is run while a machine boots.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

SERVICE = "io.geard"
"""by which our records are known"""
SHELL = "/usr/lib/geard/gear-join"
LOGINS = "geard-logins"
KINDS = ("ctr-", "git-")
"""how the names begin: of gears' users, and of repositories'"""


def render_user(login: str, uid: int, gear: str) -> str:
    kind = "repository" if login.startswith("git-") else "gear"
    return _render({
        "userName": login,
        "realName": f"{kind} {gear}",
        "disposition": "container",
        "service": SERVICE,
        "uid": uid,
        "gid": uid,
        "homeDirectory": "/",
        "shell": SHELL,
    })  # fmt: skip


def render_group(login: str, uid: int) -> str:
    return _render({"groupName": login, "disposition": "container", "service": SERVICE, "gid": uid})


def _render(record: Mapping[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":")) + "\n"


def find(folder: str, login: str) -> int | None:
    """The uid in the record of that name, if there is one of ours."""
    try:
        with open(f"{folder}/{login}.user", encoding="utf-8") as file:
            record: Any = json.load(file)
        return record["uid"] if record.get("service") == SERVICE else None
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def write(folder: str, login: str, uid: int, gear: str) -> None:
    """Made if it is not there, whole or not at all; repeating it is harmless."""
    os.makedirs(folder, exist_ok=True)
    before = find(folder, login)
    if before not in (uid, None):
        remove(folder, login)
    _put(_membership(folder, login), "{}\n")  # an empty one would count as masked
    _put(f"{folder}/{login}.group", render_group(login, uid))
    _put(f"{folder}/{login}.user", render_user(login, uid, gear))
    for path, target in _links(folder, login, uid):
        _point(path, target)


def remove(folder: str, login: str) -> bool:
    """False where there was none of ours."""
    uid = find(folder, login)
    if uid is None:
        return False
    for path, target in _links(folder, login, uid):
        with suppress(OSError):
            if os.readlink(path) == target:
                os.unlink(path)
    # The one that says that there is one goes last.
    for path in (_membership(folder, login), f"{folder}/{login}.group", f"{folder}/{login}.user"):
        with suppress(FileNotFoundError):
            os.unlink(path)
    return True


def _membership(folder: str, login: str) -> str:
    return f"{folder}/{login}:{LOGINS}.membership"


def _links(folder: str, login: str, uid: int) -> list[tuple[str, str]]:
    """What is found by the number, and where each leads."""
    kinds = (("geard", "user"), ("group", "group"), ("user", "user"))
    return [(f"{folder}/{uid}.{kind}", f"{login}.{target}") for kind, target in kinds]


def listed(folder: str) -> list[str]:
    """The logins that have a record of ours, gears' and repositories'."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    logins = [name.removesuffix(".user") for name in names if name.startswith(KINDS) and name.endswith(".user")]
    return sorted(login for login in logins if find(folder, login) is not None)


def _put(path: str, text: str) -> None:
    with suppress(OSError), open(path, encoding="utf-8") as file:
        if file.read() == text:
            return
    draft = f"{path}.{os.urandom(4).hex()}.tmp"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with open(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o644)
        file.write(text)
    os.rename(draft, path)


def _point(path: str, target: str) -> None:
    with suppress(OSError):
        if os.readlink(path) == target:
            return
    draft = f"{path}.{os.urandom(4).hex()}.tmp"
    os.symlink(target, draft)
    os.rename(draft, path)
