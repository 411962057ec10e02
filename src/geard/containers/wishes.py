"""What may be asked of a gear: every check that comes before anything is touched."""

from __future__ import annotations

import os
import re

from geard.containers.host_users import OWN, parse_host_user
from geard.containers.limits import check_limits
from geard.containers.quoting import check_text
from geard.containers.requests import VolumeMount, Wish
from geard.containers.settings import Allowances
from geard.containers.slices import check_slice
from geard.containers.volumes import NAME_LIMIT, volume_folder
from geard.failures import Denied, Invalid
from geard.identifiers import check_absolute, check_id
from geard.images.names import check_image
from geard.request import Asker

STOP_LIMIT = 3_600
USERS = 65_536
_ALLOW = "an admin may permit it for others: [allow] in /etc/geard/geard.toml"
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,254}[A-Za-z0-9])?", re.ASCII)


def check_wish(wish: Wish, asker: Asker, allowed: Allowances | None = None) -> None:
    """Raises Invalid for what cannot be, Denied for what this asker may not ask.

    `allowed` is what askers without the scope admin may have all the same.
    """
    check_id(wish.id)
    check_image(wish.image)
    if wish.image == wish.id:
        raise Invalid(f"{wish.image!r} is given as image and as name", hint="gear install IMAGE NAME...")
    if wish.simple and wish.isolate:
        raise Invalid("a gear is either simple or isolated", hint="isolated is the default; leave both out")
    if wish.host_user not in ("", OWN):
        parse_host_user(wish.host_user)
        if wish.simple or wish.isolate:
            other = "simple" if wish.simple else "isolated"
            raise Invalid(
                f"a gear that is {other} shares no single user of the host", hint="leave out one of the two"
            )
    check_slice(wish.systemd_slice)
    if wish.stop_timeout is not None and not 0 <= wish.stop_timeout <= STOP_LIMIT:
        raise Invalid(f"a stop timeout of {wish.stop_timeout} s", hint=f"0 to {STOP_LIMIT}")
    check_limits(wish.limits)
    for word in (*wish.command, *(wish.entrypoint or ())):
        check_text(word, "a word of the command")
    for name, value in wish.labels.items():
        if not _LABEL.fullmatch(name):
            raise Invalid(f"{name[:80]!r} cannot name a label", hint="letters, digits, '.', '_', '/' and '-'")
        check_text(value, f"the value of label {name}")
    _check_volumes(wish)
    if not asker.may("admin"):
        check_rights(wish, allowed or Allowances())


def check_rights(wish: Wish, allowed: Allowances) -> None:
    """Raises Denied where such a gear has more of the host than askers without the scope admin may have."""
    if wish.simple and not allowed.simple:
        raise Denied("a gear that shares the host's users (simple) takes the scope admin", hint=_ALLOW)
    if wish.host_user not in ("", OWN) and parse_host_user(wish.host_user)[0] not in allowed.host_users:
        raise Denied(f"a gear that shares the host's user {wish.host_user} takes the scope admin", hint=_ALLOW)
    for mount in wish.volume_config.volume_mounts:
        if not any(_within(mount, folder) for folder in allowed.mounts):
            raise Denied(f"mounting {mount.path} of the host into a gear takes the scope admin", hint=_ALLOW)


def _within(mount: VolumeMount, allowed: str) -> bool:
    """Whether a mount lies in a folder that may be mounted. Links are followed: none may lead out of it."""
    folder, read_only = allowed.removesuffix(":ro").rstrip("/"), allowed.endswith(":ro")
    real = os.path.realpath(mount.path)
    return (real == folder or real.startswith(folder + "/")) and (mount.read_only or not read_only)


def _check_volumes(wish: Wish) -> None:
    seen: set[str] = set()
    targets = [volume.path for volume in wish.volume_config.volumes]
    targets += [mount.host_path for mount in wish.volume_config.volume_mounts]
    for target in targets:
        check_path(target, "inside the gear")
        if target == "/":
            raise Invalid("a volume cannot take the place of '/'")
        if len(volume_folder(target).encode()) > NAME_LIMIT:
            raise Invalid(f"the path {target[:60]!r}… of a volume is too long")
        if target in seen:
            raise Invalid(f"two volumes for {target}")
        seen.add(target)
    for mount in wish.volume_config.volume_mounts:
        check_path(mount.path, "on the host")


def check_sources(wish: Wish) -> None:
    """Looks at the disk. Raises Invalid where what is to be mounted is not there: podman would say so at each
    start, and a folder made by us instead would hide the slip.
    """
    for mount in wish.volume_config.volume_mounts:
        if not os.path.exists(mount.path):
            raise Invalid(
                f"there is no {mount.path!r} on the host to be seen at {mount.host_path!r}",
                hint=f"make it first; or have a folder kept for the gear: -v {mount.host_path}",
            )


def check_user(user: str, *, simple: bool) -> None:
    """Raises Invalid where an image wants a user or group, by number, that a gear with its own users lacks."""
    for number in user.split(":"):
        if not simple and number.isascii() and number.isdigit() and int(number) >= USERS:
            raise Invalid(
                f"the image runs as user {user}, and a gear's users and groups end at {USERS - 1}",
                hint="--simple shares the host's users; an image of another USER works as ever",
            )


def check_path(path: str, where: str) -> str:
    """An absolute path without detours. Raises Invalid."""
    check_text(path, f"the path {path!r}")
    return check_absolute(path, where)
