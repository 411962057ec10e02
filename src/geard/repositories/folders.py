"""Repositories on disk. The folder `git` is their one lock.

    git/shop/                       a bare repository; its owner is its user, and nobody else may look into it
    git/.gone-1000.XXXX             one that is being removed, `.new-1000.XXXX` one that is being made
    git/.pushes/                    what pushes have changed, for geard to read (pushes.py)
    git-users/1000 -> ../git/shop   number 1000, and so a uid, is shop's
    git-users/1000.made             by which request, and what it is to be filled from, until it is (made.py)
    git-users/1000.webhook          who is told of pushes (webhooks.py)
    git-users/1000.build            what is built of pushes (builds/watching.py)

The folder's owner is the truth, and the link an index of it. A new one is there when it has its name, which comes
last; where a name changes the link comes last. What a killed one began, `mend` ends.
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
from geard.host.storage import Changes, locked, names, read_hint, read_text, sweep, write_hint
from geard.identifiers import repository_login
from geard.keys import store as keys
from geard.repositories.made import Made

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


def made_path(paths: Paths, number: int) -> Path:
    return users_folder(paths) / f"{number}.made"


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
    return names(folder(paths))


def of_uid(paths: Paths, uid: int) -> str:
    """The repository whose user that is. Raises Denied."""
    with suppress(OSError):
        id = os.path.basename(os.readlink(users_folder(paths) / str(number_of(uid))))
        if os.lstat(path(paths, id)).st_uid == uid:
            return id
    raise Denied(f"uid {uid} is no repository's user: nothing is opened to it")


def create(host: Host, id: str, branch: str, made: Made) -> None:
    """As `git init --bare` would, in one rename. The one that is there is fine where the same request made it, or
    it waits to be filled from the same. Raises AlreadyExists, Unavailable.
    """
    paths = host.paths
    with Changes() as changes:
        lay_out(paths, changes)
        with locked(folder(paths)):
            if path(paths, id).exists():
                if not made.goes_on(Made.read(made_path(paths, number(paths, id)))):
                    raise AlreadyExists(
                        f"there is a repository {id} already", hint=f"gear delete-repo {id} removes it"
                    )
                return
            mend(host, changes)
            found = _reserve(paths, changes, id)
            changes.write(made_path(paths, found), made.text, 0o600)
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
            give_user(host, id, found)
            os.rename(draft, path(paths, id))
            changes.changed_in(folder(paths))


def give_user(host: Host, id: str, number: int) -> None:
    """Who logs in for it; a boot makes it anew (gear-accounts)."""
    uid, login = uid_of(number), repository_login(id)
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
    """Also to its end, where a killed one has begun. Raises NotFound, AlreadyExists."""
    paths = host.paths
    with Changes() as changes, locked(folder(paths)):
        if not path(paths, old).exists() and path(paths, new).exists():
            found = number(paths, new)
            if _called(paths, found) == old:
                _renamed(host, changes, found, old, new)
                return
        found = number(paths, old)
        if path(paths, new).exists():
            raise AlreadyExists(f"there is a repository {new} already")
        mend(host, changes)
        # Keys first: cut off behind this, it is opened by none, never by another's.
        keys.forget_repository(paths, changes, new)
        changes.sync()
        os.rename(path(paths, old), path(paths, new))
        changes.changed_in(folder(paths))
        _renamed(host, changes, found, old, new)


def _renamed(host: Host, changes: Changes, found: int, old: str, new: str) -> None:
    """What follows its folder; the number last, by which it is known that all has been done."""
    keys.rename_repository(host.paths, changes, old, new)
    take_user(host, old)
    give_user(host, new, found)
    changes.sync()
    changes.point(users_folder(host.paths) / str(found), f"../git/{new}")


def _called(paths: Paths, found: int) -> str:
    """The repository that a number leads to."""
    with suppress(OSError):
        return os.path.basename(os.readlink(users_folder(paths) / str(found)))
    return ""


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


def clear(host: Host) -> None:
    """Remove what was put aside, and what killed ones left."""
    if folder(host.paths).is_dir():
        with Changes() as changes, locked(folder(host.paths)):
            lay_out(host.paths, changes)
            mend(host, changes)


def mend(host: Host, changes: Changes) -> None:
    """With the lock held: what is gone is removed, each has its user and its number, keys follow a new name."""
    paths = host.paths
    owners: dict[int, str] = {}
    for entry in list(os.scandir(folder(paths))):
        owner = owner_of(entry)
        if entry.name.startswith((".gone-", ".new-")):
            changes.remove_tree(Path(entry.path))
        elif not entry.name.startswith(".") and is_one(owner):
            owners[number_of(owner)] = entry.name
    sweep(users_folder(paths))
    for name in os.listdir(users_folder(paths)):
        of = name.partition(".")[0]
        if of.isdigit() and int(of) not in owners:
            _take_user_of_none(host, int(of))
            changes.remove(users_folder(paths) / name)
    for found, id in owners.items():
        was = _called(paths, found)
        if was not in ("", id) and was not in owners.values():
            _renamed(host, changes, found, was, id)
            continue
        if records.find(_records(host), repository_login(id)) != uid_of(found):
            give_user(host, id, found)
        changes.point(users_folder(paths) / str(found), f"../git/{id}")


def owner_of(entry: os.DirEntry[str]) -> int:
    return entry.stat(follow_symlinks=False).st_uid


def _take_user_of_none(host: Host, found: int) -> None:
    """Of one that was killed while it was made; unless the name is another's by now."""
    id = _called(host.paths, found)
    if id and records.find(_records(host), repository_login(id)) == uid_of(found):
        take_user(host, id)
