"""Files that are whole or not there, links that are made once, and one lock per folder.

"On disk" means that a power cut after the call cannot take it back: contents are fsynced before a name leads
to them, those of several files together (`Changes.write_all`), and folders are fsynced once at the end
(`Changes.sync`), all that one request touched together. So what a request waits for is two rounds, whatever it
writes. Paths are handled by `os` where many calls make up a request's time: pathlib's cost twice as much.

Temporary files are named `.NAME.XXXX.tmp`; a killed writer leaves one behind and `sweep` removes it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType

from geard.failures import Conflict

_PIECE = 1 << 14


class Changes:
    """Durable changes to names in folders; used as a context, it syncs the touched folders at the end.

    Leaving by an exception syncs too: what was done stands, and the request that failed can be repeated.
    """

    def __init__(self) -> None:
        self._folders: dict[str, None] = {}

    def __enter__(self) -> Changes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.sync()

    def write(self, path: Path, text: bytes | str, mode: int = 0o644, *, draft: Path | None = None) -> None:
        """Put a whole file in place of whatever `path` was. Raises OSError (ENOSPC, …), the old file intact.

        With `draft`, by way of that file beside it, whatever a killed writer left there: for who holds a lock.
        """
        if draft is not None:
            draft.unlink(missing_ok=True)
        self._put([(path, text, mode)], [str(draft or _draft(path))])

    def write_all(self, files: Sequence[tuple[Path, bytes | str, int]]) -> None:
        """Put whole files (path, contents, mode) in place, in this order, when all their contents are on disk.

        Raises OSError: before the first has its name nothing has changed; after it, those before stay.
        """
        self._put(files, [_draft(path) for path, _, _ in files])

    def _put(self, files: Sequence[tuple[Path, bytes | str, int]], drafts: Sequence[str]) -> None:
        fds: list[int] = []
        path = files[0][0]
        try:
            for file, draft in zip(files, drafts, strict=True):
                path, text, mode = file
                fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                fds.append(fd)
                os.fchmod(fd, mode)
                _write_all(fd, text.encode() if isinstance(text, str) else text)
            _sync_contents(fds)
            for (path, _, _), draft in zip(files, drafts, strict=True):
                os.rename(draft, path)
                self._touch(path)
        except BaseException as error:
            for draft in drafts[: len(fds)]:
                with suppress(FileNotFoundError):
                    os.unlink(draft)
            if isinstance(error, OSError):
                error.filename = str(path)  # a write has none, and nobody knows the draft's
            raise
        finally:
            for fd in fds:
                os.close(fd)

    def mark(self, path: Path) -> None:
        """An empty file: its being there is all it says."""
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._touch(path)

    def link(self, source: Path, path: Path) -> None:
        """Make `path` a second name of the file `source`, in place of whatever it was."""
        try:
            os.link(source, path)
        except FileExistsError:
            # rename(2) of one name of a file onto another of the same file does nothing and leaves both
            if os.path.samefile(source, path):
                return
            draft = _draft(source)  # beside the source, where the sweep of its folder finds it
            os.link(source, draft)
            os.rename(draft, path)
        self._touch(path)

    def symlink(self, target: Path | str, path: Path) -> None:
        """Make a symbolic link that was not there. Raises FileExistsError: this is how names are reserved."""
        os.symlink(target, path)
        self._touch(path)

    def point(self, path: Path, target: Path | str, *, derived: bool = False) -> None:
        """Make `path` a symbolic link to `target`, in place of whatever link it was. One that is `derived` is not
        waited for: it can be made again from what is on disk.
        """
        try:
            os.symlink(target, path)
        except FileExistsError:
            with suppress(OSError):
                if os.readlink(path) == str(target):
                    return
            draft = _draft(path)
            os.symlink(target, draft)
            os.rename(draft, path)
        if not derived:
            self._touch(path)

    def remove(self, path: Path) -> bool:
        """Remove a file or link; False where it was not there."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        self._touch(path)
        return True

    def folder(self, path: Path, mode: int = 0o755) -> bool:
        """Make a folder, and those above it, unless they are there; whether it was made."""
        while True:
            try:
                os.mkdir(path, mode)
                break
            except FileExistsError:
                if os.path.isdir(path):
                    return False
                if os.path.lexists(path) and not os.path.isdir(path):
                    raise  # it is something else; what is gone by now is made in the next round
            except FileNotFoundError:  # also where somebody tidied the folder above away just now
                self.folder(path.parent, mode)
        with suppress(FileNotFoundError):
            os.chmod(path, mode)
        self._touch(path)
        return True

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with all in it; links are removed, never followed. Absent is fine."""
        if path.is_symlink() or not path.is_dir():
            self.remove(path)
            return
        for entry in list(os.scandir(path)):
            self.remove_tree(Path(entry.path))
        with suppress(FileNotFoundError):
            os.rmdir(path)
        self._folders.pop(str(path), None)
        self._touch(path)

    def changed_in(self, folder: Path) -> None:
        """A name in there was changed otherwise: with the next `sync` it is durable."""
        self._touch(folder / "_")

    def sync(self) -> None:
        """Make all changes durable. One fsync does it for all folders of a file system with one journal: what was
        changed before the folder that was changed last is in the same transaction of the journal, or an earlier.
        """
        last_of: dict[int, str] = {}
        each: list[str] = []
        for folder in self._folders:
            with suppress(FileNotFoundError):
                device = os.stat(folder).st_dev
                if device in _journals():
                    last_of[device] = folder
                else:
                    each.append(folder)
        for folder in (*each, *last_of.values()):
            with suppress(FileNotFoundError):
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        self._folders.clear()

    def _touch(self, path: Path) -> None:
        folder = os.path.dirname(path)
        self._folders.pop(folder, None)  # the order is that of the last change
        self._folders[folder] = None


@cache
def _journals() -> frozenset[int]:
    """The devices of mounted file systems whose fsync(2) writes out their one journal: ext4 (jbd2) and XFS. btrfs
    logs each folder by itself. One that is mounted later is treated with care: each folder is synced.
    """
    found: set[int] = set()
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            if rest.partition(" ")[0] in ("ext4", "xfs"):
                major, _, minor = fields.split()[2].partition(":")
                found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)


def _sync_contents(fds: Sequence[int]) -> None:
    """fsync(2) each, the writing begun for all first: then they share one commit of a journal where there is one.

    POSIX_FADV_DONTNEED begins to write what is dirty (Linux: mm/fadvise.c); sync_file_range(2) Python has not.
    """
    if len(fds) > 1:
        for fd in fds:
            with suppress(OSError):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    for fd in fds:
        os.fsync(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _draft(path: Path) -> str:
    folder, name = os.path.split(path)
    return f"{folder}/.{name}.{os.urandom(4).hex()}.tmp"


def read_hint(path: Path) -> int:
    """A number kept for speed alone; 0 where there is none."""
    try:
        return int(_read(path))
    except (FileNotFoundError, ValueError):
        return 0


def write_hint(path: Path, number: int) -> None:
    """Neither durable nor exact. Overwritten in place: ext4 writes a file out at once that is cut short first."""
    with suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(fd, b"%-6d\n" % number, 0)
        finally:
            os.close(fd)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in `folder`; the caller holds the folder's lock."""
    for path in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            path.unlink()


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Generator[None]:
    """Hold the one lock of a folder (made if it is not there), against threads and processes alike.

    The lock is flock(2) on the folder itself, so that nothing has to be tidied up after a crash. Raises
    Conflict where it is held and `wait` is False.
    """
    while True:
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            with suppress(FileExistsError):
                folder.mkdir(parents=True, mode=0o755)
            continue
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Conflict(f"somebody else is changing {folder.name}", hint="ask again in a moment") from None
            # It may have been deleted while we waited; then the lock is on a folder nobody else will find.
            if _same(fd, folder):
                yield
                return
        finally:
            os.close(fd)


def _same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def names(folder: Path) -> list[str]:
    """What is in a folder, sorted; drafts of killed writers are passed over. Nothing where there is no folder."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_text(path: Path) -> str | None:
    """The whole file, or None where there is none."""
    try:
        return _read(path).decode(errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _read(path: Path) -> bytes:
    with open(path, "rb", buffering=0) as file:
        found = file.read(_PIECE)
        if len(found) < _PIECE:
            return found  # a regular file has ended where it gives less than was asked for
        return found + file.read()
