"""Archives of strangers, unpacked into a folder and nowhere else.

Refused: absolute paths, `..`, links that lead out, hard links to what is not in it, devices, pipes; more than so
many bytes or entries. A symbolic link may lead anywhere inside. Owners are not taken over, nor setuid bits.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from geard.failures import Invalid
from geard.jobs.archiving import stays_inside

ENTRIES = 500_000
PIECE = 1_048_576


def unpack(archive: BinaryIO, to: Path, *, limit: int) -> int:
    """Unpack a tar, compressed or not, into the empty folder `to`; the bytes of its files. Raises Invalid."""
    total = 0
    try:
        with tarfile.open(fileobj=archive, mode="r:*") as tar:
            for number, entry in enumerate(tar):
                if number >= ENTRIES:
                    raise Invalid(f"the archive has more than {ENTRIES} entries")
                total += entry.size
                if total > limit:
                    raise Invalid(f"the archive holds more than {limit} bytes")
                _unpack_one(tar, entry, to)
    except (tarfile.TarError, EOFError, OverflowError) as error:
        raise Invalid(
            # Of one in no form it knows, tarfile says over lines what each form found.
            "it is no archive that can be read" + (f": {error}" if "\n" not in str(error) else ""),
            hint="tar, perhaps with gzip, bzip2 or xz",
        ) from None
    except OSError as error:
        if error.errno is None:  # zlib and lzma raise it for damaged data
            raise Invalid(f"it is a damaged archive: {error}") from None
        raise
    return total


def check_entry(entry: tarfile.TarInfo) -> str:
    """Where in the folder it goes. Raises Invalid."""
    name = entry.name.removeprefix("./")
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise Invalid(f"the archive has {entry.name[:200]!r}: a path that leads out of it")
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        raise Invalid(f"the archive has {entry.name[:200]!r}: neither file, folder nor link")
    if entry.issym() and not stays_inside(name, entry.linkname):
        raise Invalid(f"the archive has {entry.name[:200]!r}: a link that leads out of it")
    if entry.islnk():
        target = entry.linkname.removeprefix("./")
        if target.startswith("/") or ".." in target.split("/"):
            raise Invalid(f"the archive has {entry.name[:200]!r}: a link that leads out of it")
    return "/".join(part for part in parts if part not in ("", "."))


def top(to: Path) -> Path:
    """The folder that is meant: archives of the kind that forges make have one folder with all in it."""
    entries = list(os.scandir(to))
    if len(entries) == 1 and entries[0].is_dir(follow_symlinks=False):
        return Path(entries[0].path)
    return to


def beneath(root: Path, path: str) -> Path | None:
    """`path` inside `root`, with no link on the way that leads out; None where nothing is there."""
    found = Path(os.path.realpath(root / path.lstrip("/")))
    whole = Path(os.path.realpath(root))
    return found if (found == whole or whole in found.parents) and found.exists() else None


def odd_files(folder: Path) -> Iterator[Path]:
    """What is neither file, folder nor link."""
    for at, _, files in os.walk(folder):
        for name in files:
            path = Path(at, name)
            if not (path.is_symlink() or path.is_file()):
                yield path


def _unpack_one(tar: tarfile.TarFile, entry: tarfile.TarInfo, to: Path) -> None:
    name = check_entry(entry)
    if not name:
        return
    path = to / name
    _make_parents(to, name)
    if entry.isdir():
        if path.is_symlink() or not path.is_dir():
            _clear(path)
            path.mkdir(mode=0o755)
        os.chmod(path, (entry.mode & 0o777) | 0o700)
        return
    _clear(path)
    if entry.issym():
        os.symlink(entry.linkname, path)
        return
    if entry.islnk():
        target = to / entry.linkname.removeprefix("./")
        if not target.is_file() or target.is_symlink() or beneath(to, entry.linkname) is None:
            raise Invalid(f"the archive has {entry.name[:200]!r}: a link to what is not in it")
        os.link(target, path, follow_symlinks=False)
        return
    source = tar.extractfile(entry)
    assert source is not None  # it is a file
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as target_file:
        while piece := source.read(PIECE):
            target_file.write(piece)
        os.fchmod(fd, (entry.mode & 0o777) | 0o600)
    with suppress(OverflowError, OSError):
        os.utime(path, (entry.mtime, entry.mtime))


def _make_parents(to: Path, name: str) -> None:
    """Folders on the way; a link among them is refused, whatever it leads to."""
    at = to
    for part in name.split("/")[:-1]:
        at /= part
        if at.is_symlink():
            raise Invalid(f"the archive has {name[:200]!r}: a path through a link")
        if not at.is_dir():
            at.mkdir(mode=0o755)


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        raise Invalid(f"the archive has {path.name[:200]!r} twice, once as a folder")
    with suppress(FileNotFoundError):
        path.unlink()
