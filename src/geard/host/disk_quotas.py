"""How much a folder may hold, kept by its file system: by project on ext4 and XFS, by subvolume on btrfs.

A project is a number that files carry and new ones inherit; a gear cannot change it from its user namespace. All
is asked of the kernel itself, since no program for it can be counted on. What is said here stays on the disk.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820  # FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR
_ATTRIBUTES = struct.Struct("=IIIII8s")  # struct fsxattr
_INHERIT = 0x200
_QUOTACTL_FD, _PROJECTS = 443, 2
_GET_QUOTA, _SET_QUOTA = (0x800007 << 8) | _PROJECTS, (0x800008 << 8) | _PROJECTS
_QUOTA = struct.Struct("=8QI4x")  # struct if_dqblk: hard and soft limit in KiB, bytes in use, …, what of it counts
_BLOCK, _LIMITS_COUNT = 1024, 1 | 4  # blocks and inodes
_BYTES_A_FILE, _LEAST_FILES = 4096, 1024
"""an empty file costs an inode and no block: as many as there could be with one block each"""

_SUBVOLUME_CREATE, _QGROUP_CREATE, _QGROUP_LIMIT = 0x5000940E, 0x4010942A, 0x8030942B
_TREE_SEARCH, _INODE_LOOKUP = 0xD0009411, 0xD0009412
_QUOTA_TREE, _STATUS_KEY, _INFO_KEY, _LIMIT_KEY = 8, 240, 242, 244
_TOP_INODE = 256
_ALL = (1 << 64) - 1
_SEARCH = struct.Struct("=7Q4I4Q")
_FOUND = struct.Struct("=3Q2I")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class DiskUse:
    used: int
    limit: int
    """bytes; 0: none"""
    files: int = 0
    files_limit: int = 0
    """0: its file system does not bound them"""


def mounted(mountinfo: str, path: str) -> tuple[str, list[str]]:
    """Kind and options of the file system that `path` is on (proc_pid_mountinfo(5))."""
    best = ("", "", list[str]())
    for line in mountinfo.splitlines():
        front, _, back = line.partition(" - ")
        place, words = front.split()[4].replace("\\040", " "), back.split()
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best[0]) and len(words) >= 3:
            best = (place, words[0], [*front.split()[5].split(","), *words[2].split(",")])
    return best[1], best[2]


def upper_folder(mountinfo: str) -> str:
    """Where what is written to `/` goes, if that is an overlay; else empty."""
    for line in mountinfo.splitlines():
        front, _, back = line.partition(" - overlay ")
        if back and front.split()[4] == "/":
            named = [word for word in back.split()[-1].split(",") if word.startswith("upperdir=/")]
            return named[0].partition("=")[2] if named else ""
    return ""


def mounts(root: Path = Path("/"), process: int | str = "self") -> str:
    """To its end: the kernel gives such a file out in pieces."""
    try:
        return (root / f"proc/{process}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError):
        return ""


class DiskQuotas:
    def kind(self, folder: Path) -> str:
        """`project` or `subvolume`; empty where the file system of a folder does not bound, or is not told to."""
        name, options = mounted(mounts(), str(folder))
        if name in ("ext4", "xfs") and {"prjquota", "pquota"} & set(options):
            return "project"
        if name == "btrfs":
            with suppress(OSError), _opened(folder) as fd:
                return "subvolume" if _search(fd, _STATUS_KEY, 0) is not None else ""
        return ""

    def make(self, folder: Path) -> None:
        """A folder that is not there yet and can be bounded, wherever its file system could do that."""
        name, _ = mounted(mounts(), str(folder))
        if name == "btrfs":
            with _opened(folder.parent) as fd:
                fcntl.ioctl(fd, _SUBVOLUME_CREATE, bytearray(struct.pack("=q4088s", 0, os.fsencode(folder.name))))
        else:
            os.mkdir(folder, 0o700)

    def boundable(self, folder: Path) -> bool:
        """False for an ordinary folder of btrfs: only subvolumes are counted apart."""
        return self.kind(folder) != "subvolume" or os.stat(folder).st_ino == _TOP_INODE

    def bound(self, folder: Path, project: int, size: int) -> None:
        """Have it hold no more than `size` bytes from now on; 0: no limit. Raises OSError."""
        kind = self.kind(folder)
        with _opened(folder) as fd:
            if kind == "project":
                if size:
                    _mark(folder, fd, project)
                _limit(fd, project, size)
            elif kind == "subvolume" and os.fstat(fd).st_ino == _TOP_INODE:
                fcntl.ioctl(fd, _QGROUP_LIMIT, struct.pack("=6Q", 0, 1, size or _ALL, 0, 0, 0))
            elif size:
                raise OSError(errno.EOPNOTSUPP, "its file system does not bound it", str(folder))

    def use(self, folder: Path, project: int) -> DiskUse | None:
        """What it holds, and may; None where nobody counts."""
        kind = self.kind(folder)
        with suppress(OSError), _opened(folder) as fd:
            if kind == "project" and _project_of(fd) == project:
                return _use(fd, project)
            if kind == "subvolume" and os.fstat(fd).st_ino == _TOP_INODE:
                number = _subvolume_of(fd)
                info, limit = _search(fd, _INFO_KEY, number), _search(fd, _LIMIT_KEY, number)
                if info is not None:
                    flags, most = struct.unpack_from("=2Q", limit) if limit is not None else (0, 0)
                    return DiskUse(struct.unpack_from("=2Q", info)[1], most if flags & 1 else 0)
        return None

    def forget(self, folder: Path) -> None:
        """Nobody counts a folder any more that is about to go. Newer kernels do that by themselves, and refuse it
        before (Linux 6.11); in older ones a subvolume's group would outlive it.
        """
        if self.kind(folder) == "subvolume":
            with suppress(OSError), _opened(folder) as fd:
                if os.fstat(fd).st_ino == _TOP_INODE:
                    fcntl.ioctl(fd, _QGROUP_CREATE, struct.pack("=2Q", 0, _subvolume_of(fd)))

    def release(self, above: Path, project: int) -> None:
        """A project's number is free for another. `above` is a folder of the same file system."""
        if above.is_dir() and self.kind(above) == "project":
            with suppress(OSError), _opened(above) as fd:
                _limit(fd, project, 0)

    def holds_layers(self, store: Path) -> bool:
        """Whether an engine can bound the files of a container itself: overlays on XFS."""
        return mounted(mounts(), str(store))[0] == "xfs" and self.kind(store) == "project"

    def layer_use(self, layer: Path) -> DiskUse | None:
        """Of a folder whose project an engine has chosen; None where it has none."""
        with suppress(OSError), _opened(layer) as fd:
            project = _project_of(fd) if self.kind(layer) == "project" else 0
            return _use(fd, project) if project else None
        return None

    def bound_layer(self, layer: Path, size: int) -> None:
        """The same to hold `size` bytes from now on; left alone where no engine has bounded it."""
        if self.kind(layer) == "project":
            with _opened(layer) as fd:
                if project := _project_of(fd):
                    _limit(fd, project, size)


@contextmanager
def _opened(folder: Path) -> Generator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _limit(fd: int, project: int, size: int) -> None:
    blocks = -(-size // _BLOCK)
    files = max(size // _BYTES_A_FILE, _LEAST_FILES) if size else 0
    words = _QUOTA.pack(blocks, blocks, 0, files, files, 0, 0, 0, _LIMITS_COUNT)
    _quotactl(fd, _SET_QUOTA, project, words)


def _use(fd: int, project: int) -> DiskUse:
    found = _QUOTA.unpack(_quotactl(fd, _GET_QUOTA, project, bytes(_QUOTA.size)))
    hard, _, used, most_files, _, files = found[:6]
    return DiskUse(used, hard * _BLOCK, files, most_files)


def _subvolume_of(fd: int) -> int:
    answer = bytearray(struct.pack("=2Q4080s", 0, _TOP_INODE, b""))
    fcntl.ioctl(fd, _INODE_LOOKUP, answer)
    return int(struct.unpack_from("=Q", answer)[0])


def _project_of(fd: int) -> int:
    return int(_ATTRIBUTES.unpack(fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size)))[3])


def _give(fd: int, project: int, *, folder: bool) -> None:
    flags, extent, extents, _, cow, rest = _ATTRIBUTES.unpack(
        fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size))
    )
    flags = flags | _INHERIT if folder else flags & ~_INHERIT
    fcntl.ioctl(fd, _SET_ATTRIBUTES, _ATTRIBUTES.pack(flags, extent, extents, project, cow, rest))


def _mark(folder: Path, fd: int, project: int) -> None:
    """Have all in a folder carry the project's number. The folder itself is last: it says that all is done. A gear
    may run meanwhile, so links are never followed and every step is from an open folder.
    """
    if _project_of(fd) == project:
        return
    for _, folders, files, at in os.fwalk(folder, follow_symlinks=False):
        for name in (*folders, *files):
            with suppress(OSError):
                kind = os.stat(name, dir_fd=at, follow_symlinks=False).st_mode
                if stat.S_ISDIR(kind) or stat.S_ISREG(kind):
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                    inner = os.open(name, flags, dir_fd=at)
                    try:
                        _give(inner, project, folder=stat.S_ISDIR(kind))
                    finally:
                        os.close(inner)
    _give(fd, project, folder=True)


def _quotactl(fd: int, command: int, project: int, words: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(words, _QUOTA.size)
    if _libc.syscall(_QUOTACTL_FD, fd, ctypes.c_uint(command), ctypes.c_uint(project), buffer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw


def _search(fd: int, kind: int, number: int) -> bytes | None:
    """An item of btrfs' own tree of quotas; None where there is none. Raises OSError where quotas are off."""
    key = _SEARCH.pack(_QUOTA_TREE, 0, 0, number, number, 0, _ALL, kind, kind, 1, 0, 0, 0, 0, 0)
    answer = bytearray(key.ljust(4096, b"\0"))  # longer than the 1,024 bytes that fcntl has room for itself
    fcntl.ioctl(fd, _TREE_SEARCH, answer)
    if not _SEARCH.unpack_from(answer)[9]:
        return None
    length = _FOUND.unpack_from(answer, _SEARCH.size)[4]
    begin = _SEARCH.size + _FOUND.size
    return bytes(answer[begin : begin + length])
