"""Whether a socket was made in a container, from the cgroup id that sock_diag tells (Linux 5.8, cgroup v2).

Root in a container on the host's network without a user namespace of its own is uid 0 to every other check.
What remains open: hosts with cgroup v1 only, where the kernel does not say; and runtimes that put their
containers into cgroups of a name that is not known here.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from itertools import takewhile
from pathlib import Path

_FILEID_KERNFS = 0xFE
_HANDLE = struct.Struct("=IiQ")  # file_handle: bytes, type, and for kernfs the id

_CONTAINER = re.compile(
    r"(libpod|docker|crio|cri-containerd)-.*[0-9a-f]{12,}.*|buildah-.+|lxc\.payload\..+"
    r"|docker|lxc|libpod_parent|kubepods.*|machine\.slice"  # what these stand in
    r"|ctr-.+\.service|systemd-nspawn@.+\.service"  # gears, machines
)


class Cgroups:
    """The tree of cgroup v2. Raises OSError where there is none, or where ids in it cannot be looked up."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        root = _cgroup2_mount()
        self._mount = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            own = root + Path("/proc/self/cgroup").read_text().partition("0::")[2].partition("\n")[0].rstrip("/")
            self._own = own.split("/")
            self.own_id = Path(own).stat().st_ino
            if self.path(self.own_id) != own:
                raise OSError(f"the id of {own} does not lead back to it")
        except OSError:
            self.close()
            raise

    def path(self, id: int) -> str:
        """Raises OSError where there is no such cgroup (any more)."""
        handle = _HANDLE.pack(8, _FILEID_KERNFS, id)
        found = self._libc.open_by_handle_at(self._mount, handle, os.O_RDONLY | os.O_CLOEXEC)
        if found < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), f"cgroup {id}")
        try:
            return str(Path(f"/proc/self/fd/{found}").readlink())
        finally:
            os.close(found)

    def in_container(self, id: int) -> bool:
        """Whether the cgroup belongs to a container on this machine; one that is gone may have.

        The agent may be in a container itself (a lab machine, say): what is above it counts for nothing.
        """
        try:
            return container_between(self._own, self.path(id).split("/"))
        except OSError:
            return True

    def close(self) -> None:
        os.close(self._mount)


def container_between(own: list[str], other: list[str]) -> bool:
    """Whether a container's cgroup is on the way down to `other` from where it parts from `own`."""
    common = takewhile(lambda pair: pair[0] == pair[1], zip(own, other, strict=False))
    return any(_CONTAINER.fullmatch(part) for part in other[len(list(common)) :])


def _cgroup2_mount() -> str:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return where
    raise OSError("no cgroup v2 is mounted")
