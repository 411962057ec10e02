"""Whether a gear may use the files of the host that it was given.

A gear's users are a range of their own on the host, and a bind mount is never chowned: what the host's files say
of everybody else is what holds for the gear, unless they belong to that range. Root in the gear is no exception:
its capabilities act on files of its own users only (user_namespaces(7)).
"""

from __future__ import annotations

import os
import stat

from geard.containers import selinux
from geard.containers.definition import Definition, HostUser
from geard.containers.requests import VolumeMount

RANGE = 65_536
_SHARED = frozenset("/ /home /media /mnt /opt /srv /tmp /var /var/lib /var/log /var/tmp".split())
_OF_THE_SYSTEM = tuple("/bin /boot /dev /etc /lib /lib64 /proc /root /run /sbin /sys /usr".split())


def trouble(definition: Definition) -> list[str]:
    """What is wrong with the host's files for this gear, each with what would help."""
    return [text for mount in definition.volume_config.volume_mounts if (text := _look(definition, mount))]


def _look(definition: Definition, mount: VolumeMount) -> str:
    try:
        found = os.stat(mount.path)
    except (FileNotFoundError, NotADirectoryError):
        return f"{mount.path} is not on this host, and {definition.id} cannot start without it: make it"
    except OSError as error:
        return f"{mount.path} cannot be looked at: {error.strerror}"
    if selinux.mode() == "enforcing" and not (kind := selinux.type_of(mount.path)).startswith("container_"):
        return (
            f"SELinux keeps containers from {mount.path} ({kind or 'no label'}):"
            f" chcon -R -t container_file_t -l s0 {mount.path} opens it to all gears that it is mounted into"
        )
    if (definition.uid is None and definition.host_user is None) or _has_acl(mount.path):
        return ""
    return judge(definition.uid, found, mount, definition.host_user)


def judge(base: int | None, found: os.stat_result, mount: VolumeMount, shared: HostUser | None = None) -> str:
    """What a gear whose users begin at `base`, and one of whom is a user of the host, may do with a file like
    that. Pure.
    """
    own = range(base, base + RANGE) if base is not None else range(0)
    if found.st_uid in own or (shared is not None and found.st_uid == shared.uid):
        return ""
    group = found.st_gid in own or (shared is not None and found.st_gid == shared.gid)
    bits = (found.st_mode >> 3 if group else found.st_mode) & 0o7
    folder = stat.S_ISDIR(found.st_mode)
    reads = bits & 0o4 and (not folder or bits & 0o1)
    whose = f"{mount.path} (mode {stat.S_IMODE(found.st_mode):04o} of uid {found.st_uid})"
    if shared is not None:
        who = f"its user {shared.inside}" if base is not None else "its program"
        whom, owner = f"{who} is {shared.name} (uid {shared.uid}) of the host: ", f"{shared.uid}:{shared.gid}"
    else:
        whom, owner = f"its root is uid {base} of the host, its user N is {base}+N: ", f"{base}:{base}"
    helps = whom + (
        "give it a folder made for it, which may be its"
        if _is_of_the_system(mount.path)
        else f"chown -R {owner} {mount.path}, or setfacl -R -m u:{owner.partition(':')[0]}:rwX {mount.path}"
    )
    if not reads:
        return f"the gear may not read {whose}; {helps}"
    if not mount.read_only and not bits & 0o2:
        return f"the gear may read {whose}, not write it; {helps}; or say so: -v {mount.path}:{mount.host_path}:ro"
    return ""


def _is_of_the_system(path: str) -> bool:
    """Whether a change of its owners could break the machine."""
    return path in _SHARED or any(path == top or path.startswith(f"{top}/") for top in _OF_THE_SYSTEM)


def _has_acl(path: str) -> bool:
    """Whether a list of its own says who may: then nothing can be told from the mode."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False
