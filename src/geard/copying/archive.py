"""A file or a folder as a tar, read and written as it goes. On both ends of a copy the other side may be hostile:
no link on the way is followed, and nothing leads out of the folder that is written to. Standard library only.

Files that are replaced are replaced whole, by rename. One has no name until it is whole: who is killed while it is
written leaves nothing of it. What is no file, folder or link is left out, and told of.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import IO, Any, NamedTuple, Protocol, cast

CHUNK = 256 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}
_NO_NAMELESS = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
"""a file system, or a kernel, that has no files without a name: open(2), O_TMPFILE"""
SET_ID = stat.S_ISUID | stat.S_ISGID

Say = Callable[[str], None]


class Reads(Protocol):
    def read(self, count: int, /) -> bytes: ...


class Writes(Protocol):
    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...


class Refused(Exception):
    """`kind` is one of geard's words for failure; or `Left`: nobody takes it any more, and why is known there."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint


class Owner(NamedTuple):
    uid: int
    gid: int


def refusal(error: OSError, path: str) -> Refused:
    kind = "Denied" if isinstance(error, PermissionError) else "Unavailable"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        kind = "NotFound"
    return Refused(kind, f"{path}: {error.strerror or error}")


def kind_of(mode: int) -> str:
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def pack(path: str, name: str, out: Writes, say: Say, *, owner: Owner | None = None) -> int:
    """Write what is at `path` (a link there is followed) as `name`; a folder's contents alone, where that is `.`.
    All of it as if it belonged to `owner`, where one is given. The number of files. Raises Refused.
    """
    try:
        found = os.stat(path)
        if kind_of(found.st_mode) == "other" or (name == "." and not stat.S_ISDIR(found.st_mode)):
            raise Refused("Invalid", f"{path} is no {'folder' if name == '.' else 'file or folder'}")
        top = os.open(path, _READ & ~os.O_NOFOLLOW)
    except OSError as error:
        raise refusal(error, path) from None
    try:
        with tarfile.open(fileobj=_file(out), mode="w|", bufsize=CHUNK, format=tarfile.PAX_FORMAT) as tar:
            packing = _Packing(tar, say, owner)
            if stat.S_ISDIR(os.fstat(top).st_mode):
                packing.folder(top, name, path)
            else:
                packing.file(top, name, path)
        out.flush()
        return packing.count
    except BrokenPipeError:
        raise Refused("Left", "who it was for has left") from None
    finally:
        os.close(top)


class _Packing:
    def __init__(self, tar: tarfile.TarFile, say: Say, owner: Owner | None) -> None:
        self._tar = tar
        self._say = say
        self._owner = owner
        self._linked: dict[tuple[int, int], str] = {}
        self.count = 0

    def folder(self, fd: int, name: str, path: str) -> None:
        if name != ".":
            self._add(_entry(name, os.fstat(fd), tarfile.DIRTYPE))
        for each in sorted(os.listdir(fd)):
            inner, shown = (each if name == "." else f"{name}/{each}"), f"{path.rstrip('/')}/{each}"
            try:
                self._one(fd, each, inner, shown)
            except FileNotFoundError:
                continue  # gone since
            except BrokenPipeError:
                raise
            except OSError as error:
                raise refusal(error, shown) from None

    def _one(self, folder: int, each: str, name: str, path: str) -> None:
        found = os.stat(each, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            entry = _entry(name, found, tarfile.SYMTYPE)
            entry.linkname = os.readlink(each, dir_fd=folder)
            self._add(entry)
        elif kind_of(found.st_mode) == "other":
            self._say(f"left out: {path} is {_KINDS.get(stat.S_IFMT(found.st_mode), 'no file')}")
        else:
            fd = os.open(each, _READ, dir_fd=folder)
            try:
                if stat.S_ISDIR(os.fstat(fd).st_mode):
                    self.folder(fd, name, path)
                else:
                    self.file(fd, name, path)
            finally:
                os.close(fd)

    def file(self, fd: int, name: str, path: str) -> None:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):  # what was a file a moment ago
            self._say(f"left out: {path} is no file")
            return
        key = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and key in self._linked:
            entry = _entry(name, found, tarfile.LNKTYPE)
            entry.linkname = self._linked[key]
            self._add(entry)
            return
        if found.st_nlink > 1:
            self._linked[key] = name
        entry = _entry(name, found, tarfile.REGTYPE)
        entry.size = found.st_size
        with open(fd, "rb", buffering=0, closefd=False) as file:
            self._add(entry, _Whole(file, path))
        self.count += 1

    def _add(self, entry: tarfile.TarInfo, file: Reads | None = None) -> None:
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        self._tar.addfile(entry, _file(file) if file is not None else None)
        _forget(self._tar)


class _Whole:
    """A file that has to have as many bytes as were announced."""

    def __init__(self, file: Reads, path: str) -> None:
        self._file = file
        self._path = path

    def read(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._file.read(count - len(parts))
            if not part:
                raise Refused("Conflict", f"{self._path} became shorter while it was read")
            parts += part
        return bytes(parts)


def _file(given: Reads | Writes) -> IO[bytes]:
    """tarfile asks for no more of what it reads or writes as it goes."""
    return cast("IO[bytes]", given)


def _forget(tar: tarfile.TarFile) -> None:
    """It would keep every entry."""
    cast("Any", tar).members.clear()


def _entry(name: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, stat.S_IMODE(found.st_mode)
    entry.uid, entry.gid, entry.mtime = found.st_uid, found.st_gid, int(found.st_mtime)
    return entry


def own_files() -> int:
    """The folder in which this process' open files stand by their numbers."""
    return os.open("/proc/self/fd", _FOLDER & ~os.O_NOFOLLOW)


def unpack(
    source: Reads,
    folder: str,
    say: Say,
    *,
    owner: Owner | None = None,
    mask: int = 0o7777,
    files: int | None = None,
) -> int:
    """Put what comes as a tar into a folder that is there. All of it belongs to `owner`, else to who runs this; of
    modes only `mask` is taken. `files` is own_files(), where that cannot be opened any more. The number of files.
    Raises Refused.
    """
    try:
        top = os.open(folder, _FOLDER & ~os.O_NOFOLLOW)
    except NotADirectoryError:
        raise Refused("Invalid", f"{folder} is no folder") from None
    except OSError as error:
        raise refusal(error, folder) from None
    with ExitStack() as closing:
        closing.callback(os.close, top)
        tail = _Tail(source)
        if files is None:
            closing.callback(os.close, files := own_files())
        unpacking = _Unpacking(top, folder.rstrip("/"), say, owner, mask, files)
        closing.callback(unpacking.close)
        try:
            with tarfile.open(fileobj=_file(tail), mode="r|", bufsize=CHUNK) as tar:
                while (entry := tar.next()) is not None:
                    unpacking.take(tar, entry)
                    _forget(tar)
            tail.drain()
        except (tarfile.TarError, ValueError, OverflowError, EOFError, MemoryError) as error:
            raise Refused("Invalid", f"that is no tar: {error}", "not compressed, and whole") from None
        unpacking.finish()
        if not tail.ended:
            raise Refused("Invalid", "the tar ends in the middle")
        return unpacking.count


class _Tail:
    """What is read, and whether it ended as a tar ends: with zeros."""

    def __init__(self, source: Reads) -> None:
        self._source = source
        self._last = b""

    def read(self, count: int) -> bytes:
        part = self._source.read(count)
        self._last = (self._last + part)[-tarfile.BLOCKSIZE :]
        return part

    def drain(self) -> None:
        while self.read(CHUNK):
            pass

    @property
    def ended(self) -> bool:
        return len(self._last) == tarfile.BLOCKSIZE and not any(self._last)


class _Unpacking:
    def __init__(self, top: int, shown: str, say: Say, owner: Owner | None, mask: int, files: int) -> None:
        self._top = top
        self._shown = shown
        self._say = say
        self._owner = owner
        self._mask = mask
        self._files = files
        self._at: list[tuple[str, int]] = []
        """the folder that was written to last, by its parts, each open"""
        self._made: list[tuple[tuple[str, ...], int, float]] = []
        """folders that were made: their modes and times come when nothing is written into them any more"""
        self.count = 0

    def take(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        parts = _parts(entry.name)
        if not parts:
            return  # the folder itself, which is there
        path = f"{self._shown}/{'/'.join(parts)}"
        try:
            folder = self._open(parts[:-1])
            if entry.isdir():
                self._folder(folder, parts, entry)
            elif entry.isreg():
                self._file(folder, parts[-1], tar, entry)
                self.count += 1
            elif entry.issym():
                self._replace(folder, parts[-1], lambda draft: self._link(folder, draft, entry.linkname))
            elif entry.islnk():
                self._second_name(folder, parts[-1], entry.linkname)
            else:
                self._say(f"left out: {path} is no file, folder or link")
        except OSError as error:
            raise _unwritten(error, path) from None

    def finish(self) -> None:
        for parts, mode, time in reversed(self._made):
            with suppress(OSError):  # gone, or no folder any more: it is not ours alone
                fd = self._open(parts)
                os.fchmod(fd, mode & self._mask)
                _set_time(fd, time)

    def close(self) -> None:
        while self._at:
            os.close(self._at.pop()[1])

    def _open(self, parts: tuple[str, ...]) -> int:
        """That folder, made where it is not there. No link on the way is followed."""
        same = 0
        while same < min(len(parts), len(self._at)) and self._at[same][0] == parts[same]:
            same += 1
        while len(self._at) > same:
            os.close(self._at.pop()[1])
        for number in range(same, len(parts)):
            above = self._at[-1][1] if self._at else self._top
            try:
                fd = os.open(parts[number], _FOLDER, dir_fd=above)
            except FileNotFoundError:
                self._make(above, parts[: number + 1], 0o755, 0)
                fd = os.open(parts[number], _FOLDER, dir_fd=above)
            self._at.append((parts[number], fd))
        return self._at[-1][1] if self._at else self._top

    def _make(self, above: int, parts: tuple[str, ...], mode: int, time: float) -> None:
        os.mkdir(parts[-1], 0o700, dir_fd=above)
        if self._owner is not None:
            os.chown(parts[-1], *self._owner, dir_fd=above, follow_symlinks=False)
        self._made.append((parts, mode, time))

    def _folder(self, above: int, parts: tuple[str, ...], entry: tarfile.TarInfo) -> None:
        """One that is there is left as it is."""
        try:
            self._make(above, parts, entry.mode, entry.mtime)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(parts[-1], dir_fd=above, follow_symlinks=False).st_mode):
                raise

    def _file(self, folder: int, name: str, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        try:
            fd = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
            self._replace(folder, name, lambda draft: self._write(_new(draft, folder), tar, entry))
            return
        with open(fd, "wb", buffering=0) as file:
            self._write(os.dup(fd), tar, entry)
            with suppress(FileExistsError):
                self._give_name(file.fileno(), name, folder)
                return
            self._replace(folder, name, lambda draft: self._give_name(file.fileno(), draft, folder))

    def _give_name(self, fd: int, name: str, folder: int) -> None:
        os.link(str(fd), name, src_dir_fd=self._files, dst_dir_fd=folder, follow_symlinks=True)

    def _write(self, fd: int, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        with open(fd, "wb", buffering=0) as file:
            source = tar.extractfile(entry)
            while source is not None and (part := source.read(CHUNK)):
                view = memoryview(part)
                while view:
                    view = view[file.write(view) :]
            if self._owner is not None:
                os.fchown(file.fileno(), *self._owner)
            os.fchmod(file.fileno(), entry.mode & self._mask)
            _set_time(file.fileno(), entry.mtime)

    def _link(self, folder: int, draft: str, target: str) -> None:
        os.symlink(target, draft, dir_fd=folder)
        if self._owner is not None:
            os.chown(draft, *self._owner, dir_fd=folder, follow_symlinks=False)

    def _second_name(self, folder: int, name: str, other: str) -> None:
        parts = _parts(other)
        if not parts:
            raise FileNotFoundError(2, f"{other} is no name of a file")
        kept = os.dup(folder)  # what is open may be another folder next
        try:
            there = self._open(parts[:-1])
            self._replace(
                kept,
                name,
                lambda draft: os.link(parts[-1], draft, src_dir_fd=there, dst_dir_fd=kept, follow_symlinks=False),
            )
        finally:
            os.close(kept)

    def _replace(self, folder: int, name: str, make: Callable[[str], None]) -> None:
        draft = f".gear-{os.urandom(6).hex()}"
        try:
            make(draft)
            os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with suppress(
                FileNotFoundError
            ):  # where all went well; or rename(2) of two names of one file did nothing
                os.unlink(draft, dir_fd=folder)


def _new(draft: str, folder: int) -> int:
    return os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
    )


def _parts(name: str) -> tuple[str, ...]:
    """Raises Refused."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or any("\0" in part for part in parts):
        raise Refused("Invalid", f"the tar has an entry {name[:200]!r}, which leads out of the folder")
    return parts


def _set_time(fd: int, time: float) -> None:
    with suppress(OSError, OverflowError, ValueError):
        os.utime(fd, (time, time))


def _unwritten(error: OSError, path: str) -> Refused:
    if isinstance(error, IsADirectoryError | FileExistsError):
        return Refused("Conflict", f"{path} is there, and {_of_another_kind(error)}")
    if isinstance(error, NotADirectoryError) or error.errno == 40:  # ELOOP: a link
        return Refused("Conflict", f"{path}: there is no folder on the way, but a file or a link")
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return Refused("Unavailable", f"{path}: {error.strerror}")
    return refusal(error, path)


def _of_another_kind(error: OSError) -> str:
    return "a folder" if isinstance(error, IsADirectoryError) else "no folder"
