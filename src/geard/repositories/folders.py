"""Repositories on disk. The folder `git` is their one lock.

    git/shop/                       a bare repository; its owner is its user, and nobody else may look into it
    git/.gone-1000.XXXX             one that is being removed, `.new-1000.XXXX` one that is being made
    git/.pushes/                    what pushes have changed, for geard to read (pushes.py)
    git-users/1000 -> ../git/shop   number 1000, and so a uid, is shop's

The folder's owner is the truth, and the link an index of it: `mend` makes it right after a crash.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import chain
from pathlib import Path

from geard.accounts import local_users, records
from geard.accounts.repositories import FIRST, LAST, is_one, number_of, uid_of
from geard.failures import AlreadyExists, Denied, Unavailable
from geard.host import Host
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, read_hint, read_text, write_hint
from geard.identifiers import repository_login
from geard.keys import store as keys

_NEXT = "next"
CONFIG = """\
[core]
	repositoryformatversion = 0
	filemode = true
	bare = true
	logAllRefUpdates = true
"""


def folder(paths: Paths) -> Path:
    return keys.repositories_folder(paths)


def path(paths: Paths, id: str) -> Path:
    return folder(paths) / id


def users_folder(paths: Paths) -> Path:
    return paths.base / "git-users"


def pushes_folder(paths: Paths) -> Path:
    return folder(paths) / ".pushes"


def lay_out(paths: Paths, changes: Changes) -> None:
    """The folders that all share; each in the container may put a file into `.pushes`, and nobody list it."""
    changes.folder(paths.base, 0o711)
    changes.folder(folder(paths), 0o711)
    if changes.folder(pushes_folder(paths), 0o1733):
        os.chmod(pushes_folder(paths), 0o1733)  # a mode given to mkdir(2) is cut by the umask
    changes.folder(users_folder(paths), 0o711)
    changes.folder(paths.settings / "git-hooks")


def number(paths: Paths, id: str) -> int:
    """Its user's, as the container knows it. Raises NotFound."""
    keys.check_there(paths, id)
    return number_of(os.lstat(path(paths, id)).st_uid)


def listed(paths: Paths) -> list[str]:
    with suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(folder(paths)) if not name.startswith("."))
    return []


def of_uid(paths: Paths, uid: int) -> str:
    """The repository whose user that is. Raises Denied."""
    with suppress(OSError):
        id = os.path.basename(os.readlink(users_folder(paths) / str(number_of(uid))))
        if os.lstat(path(paths, id)).st_uid == uid:
            return id
    raise Denied(f"uid {uid} is no repository's user: nothing is opened to it")


def create(host: Host, id: str, branch: str) -> None:
    """As `git init --bare` would, in one rename. Raises AlreadyExists, Unavailable."""
    paths = host.paths
    with Changes() as changes:
        lay_out(paths, changes)
        with locked(folder(paths)):
            if path(paths, id).exists():
                raise AlreadyExists(
                    f"there is a repository {id} already", hint=f"gear delete-repo {id} removes it"
                )
            mend(paths, changes)
            found = _reserve(paths, changes, id)
            keys.forget_repository(paths, changes, id)
            draft = folder(paths) / f".new-{found}"
            changes.remove_tree(draft)
            changes.folder(draft, 0o700)
            for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
                changes.folder(draft / name, 0o700)
            changes.write_all([
                (draft / "HEAD", f"ref: refs/heads/{branch}\n", 0o600),
                (draft / "config", CONFIG, 0o600),
            ])  # fmt: skip
            for at, _, files in os.walk(draft):
                for each in (at, *(f"{at}/{name}" for name in files)):
                    os.chown(each, uid_of(found), uid_of(found))
            changes.sync()
            os.rename(draft, path(paths, id))
            changes.changed_in(folder(paths))
        give_user(host, id)


def give_user(host: Host, id: str) -> None:
    """Who logs in for it; a boot makes it anew (gear-accounts)."""
    uid, login = uid_of(number(host.paths, id)), repository_login(id)
    records.write(_records(host), login, uid, id)
    if (host.paths.run / local_users.MARK).exists():
        local_users.perform(local_users.add_argv(login, uid, id))


def take_user(host: Host, id: str) -> None:
    login = repository_login(id)
    records.remove(_records(host), login)
    if (host.paths.run / local_users.MARK).exists():
        known = {user.login for user in local_users.ours(read_text(Path("/etc/passwd")) or "")}
        if login in known:
            local_users.perform(local_users.delete_argv(login))


def _records(host: Host) -> str:
    return str(host.paths.run.parent / "userdb")


def _reserve(paths: Paths, changes: Changes, id: str) -> int:
    start = read_hint(users_folder(paths) / _NEXT)
    start = start if FIRST <= start <= LAST else FIRST
    for found in chain(range(start, LAST + 1), range(FIRST, start)):
        with suppress(FileExistsError):
            changes.symlink(f"../git/{id}", users_folder(paths) / str(found))
            write_hint(users_folder(paths) / _NEXT, found + 1)
            return found
    raise Unavailable(f"there are {LAST - FIRST + 1} repositories on this host", hint="gear delete-repo")


def rename(host: Host, old: str, new: str) -> None:
    """Raises NotFound, AlreadyExists."""
    paths = host.paths
    with Changes() as changes:
        with locked(folder(paths)):
            found = number(paths, old)
            if path(paths, new).exists():
                raise AlreadyExists(f"there is a repository {new} already")
            # Keys first: cut off behind this, it is opened by none, never by another's.
            keys.forget_repository(paths, changes, new)
            os.rename(path(paths, old), path(paths, new))
            changes.point(users_folder(paths) / str(found), f"../git/{new}")
            changes.changed_in(folder(paths))
            keys.rename_repository(paths, changes, old, new)
        take_user(host, old)
        give_user(host, new)


def put_aside(host: Host, id: str) -> int | None:
    """It is gone for everybody, and none of its keys opens anything; `mend` removes what it was. Its number, or
    None where it was not there.
    """
    paths = host.paths
    if not path(paths, id).is_dir():
        return None
    with Changes() as changes, locked(folder(paths)):
        if not path(paths, id).is_dir():
            return None
        found = number(paths, id)
        take_user(host, id)
        keys.forget_repository(paths, changes, id)
        os.rename(path(paths, id), folder(paths) / f".gone-{found}")
        changes.changed_in(folder(paths))
    return found


def clear(paths: Paths) -> None:
    """Remove what was put aside, and what killed ones left."""
    with Changes() as changes, locked(folder(paths)):
        mend(paths, changes)


def mend(paths: Paths, changes: Changes) -> None:
    """With the lock held: drafts and what is gone are removed, numbers lead to whose they are."""
    owners: dict[int, str] = {}
    for entry in list(os.scandir(folder(paths))):
        owner = entry.stat(follow_symlinks=False).st_uid
        if entry.name.startswith((".gone-", ".new-")):
            changes.remove_tree(Path(entry.path))
        elif not entry.name.startswith(".") and is_one(owner):
            owners[number_of(owner)] = entry.name
    for name in os.listdir(users_folder(paths)):
        if name.isdigit() and int(name) not in owners:
            changes.remove(users_folder(paths) / name)
    for found, id in owners.items():
        changes.point(users_folder(paths) / str(found), f"../git/{id}")
