#!/usr/bin/python3 -IS
"""Every gear's user, and every repository's, made again from what is on disk: at a boot, by `gear setup`, after an
upgrade.

A slot (containers/slots.py) says whose it is, and so which ids belong to which gear; its unit, that it is there
and has users of its own. A repository's folder has its user for an owner. What has neither any more goes.
"""

# ruff: noqa: PLC0415
from __future__ import annotations

import os
import sys

BASE = "/var/lib/containers"
RUN = "/run/geard"
RECORDS = "/run/userdb"
ETC = "/etc"
SIMPLE = "X-ContainerType=simple"


def main() -> int:
    _find_geard()
    from geard.accounts import local_users, records
    from geard.identifiers import login_name, repository_login

    def found() -> dict[str, tuple[int, str]]:
        gears = {login_name(id): (uid, id) for id, uid in _gears()}
        return gears | {repository_login(id): (uid, id) for id, uid in _repositories()}

    wanted = found()
    for login, (uid, id) in wanted.items():
        records.write(RECORDS, login, uid, id)
        if not (_has_users(id) if login.startswith("ctr-") else os.path.isdir(f"{BASE}/git/{id}")):
            records.remove(RECORDS, login)  # deleted just now, and its record perhaps before this was written
    gone = set(records.listed(RECORDS)) - wanted.keys()
    for login in gone - found().keys() if gone else ():  # some may have come meanwhile
        records.remove(RECORDS, login)
    read = local_users.records_are_read(_text(f"{ETC}/nsswitch.conf"))
    _mark(f"{RUN}/{local_users.MARK}", there=not read)
    known = {user.login: user.uid for user in local_users.ours(_text(f"{ETC}/passwd"))}
    failed = False
    for login, uid in known.items():
        if read or wanted.get(login, (None,))[0] != uid:
            failed |= not local_users.perform(local_users.delete_argv(login))
    for login, (uid, id) in wanted.items() if not read else ():
        if known.get(login) != uid:
            failed |= not local_users.perform(local_users.add_argv(login, uid, id))
    return int(failed)


def _gears() -> list[tuple[str, int]]:
    """The gears with users of their own, and the first uid of each."""
    from geard.containers.slots import FIRST_UID, RANGE

    found: list[tuple[str, int]] = []
    folder = f"{BASE}/slots"
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.isdigit():
            id = os.path.basename(os.readlink(f"{folder}/{name}")).removeprefix("ctr-").removesuffix(".service")
            if _has_users(id):
                found.append((id, FIRST_UID + RANGE * int(name)))
    return found


def _repositories() -> list[tuple[str, int]]:
    """The repositories, and the uid of each."""
    from geard.accounts.repositories import is_one

    folder = f"{BASE}/git"
    names = os.listdir(folder) if os.path.isdir(folder) else ()
    owners = [(name, os.lstat(f"{folder}/{name}").st_uid) for name in names if not name.startswith(".")]
    return [(name, uid) for name, uid in owners if is_one(uid)]


def _has_users(id: str) -> bool:
    unit = _text(f"{BASE}/units/{id[:2]}/ctr-{id}.service")
    return bool(unit) and SIMPLE not in unit.splitlines()


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _mark(path: str, *, there: bool) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if there:
        with open(path, "w", encoding="ascii"):
            return
    if os.path.exists(path):
        os.unlink(path)


def _find_geard() -> None:
    sys.path.append(f"/opt/geard/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")


if __name__ == "__main__":
    sys.exit(main())
