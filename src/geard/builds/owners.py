"""Owners in what was built: the engine leaves the host's ids in it, an image needs those inside.

podman runs a container whose users are mapped on id-mapped layers below, and takes what it changed as it lies on
the disk, so an image made of it belongs to host ids (podman 5.4, with `commit` and with `build`; drop when it maps
them back). Here they are mapped back: in the folder of what a container changed, before it is committed, or in an
archive of an image. Ids that are not the build's stay as they are, so nothing happens where podman has done it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path
from typing import Any

_PLAIN = ("uid", "gid", "uname", "gname", "size", "path", "linkpath")
CAPABILITY = "security.capability"


def inside(id: int, first: int, count: int) -> int:
    return id - first if first <= id < first + count else id


def shift_folder(folder: str, first: int, count: int) -> int:
    """Nobody else is at it. How many entries it changed."""
    changed = _shift(folder, None, first, count)
    for _, folders, files, at in os.fwalk(folder, follow_symlinks=False):
        for name in (*folders, *files):
            changed += _shift(name, at, first, count)
    return changed


def _shift(name: str, at: int | None, first: int, count: int) -> int:
    found = os.stat(name, dir_fd=at, follow_symlinks=False)
    uid, gid = inside(found.st_uid, first, count), inside(found.st_gid, first, count)
    if (uid, gid) == (found.st_uid, found.st_gid):
        return 0
    kept = _capability(name, at) if stat.S_ISREG(found.st_mode) else b""
    os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)
    if found.st_mode & 0o6000 and not stat.S_ISLNK(found.st_mode):
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=at)  # chown(2) takes setuid and setgid away
    if kept:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        try:
            os.setxattr(fd, CAPABILITY, kept)
        finally:
            os.close(fd)
    return 1


def _capability(name: str, at: int | None) -> bytes:
    """Of a file; chown(2) takes it away. One of version 3 names the user that is root to it, and that changes."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    try:
        found = os.getxattr(fd, CAPABILITY)
    except OSError:
        return b""
    finally:
        os.close(fd)
    return _version_2(found)


def _version_2(found: bytes) -> bytes:
    """vfs_ns_cap_data without its rootid (linux/capability.h): it holds wherever the image is used."""
    magic = int.from_bytes(found[:4], "little")
    if magic & 0xFF000000 != 0x03000000:
        return found
    return (magic & 0x00FFFFFF | 0x02000000).to_bytes(4, "little") + found[4:20]


def shift_archive(source: Path, to: Path, work: Path, first: int, count: int, name: str) -> bool:
    """An archive as `podman save --format docker-archive` writes one, with a single image, which gets `name`; what
    has none of those ids is copied as it is. Whether anything had.
    """
    changed = False
    with tarfile.open(source, mode="r:") as old, tarfile.open(to, mode="w:") as new:
        (image,) = json.loads(_read(old, "manifest.json"))
        config: dict[str, Any] = json.loads(_read(old, image["Config"]))
        layers: list[str] = []
        for number, path in enumerate(image["Layers"]):
            entry = _entry(old, path)
            with open(work / "layer", "w+b") as layer:
                content = old.extractfile(entry)
                assert content is not None
                if _has(content, first, count):
                    content.seek(0)
                    _shift_layer(content, layer, first, count)
                    changed = True
                else:
                    content.seek(0)
                    shutil.copyfileobj(content, layer)
                layer.seek(0)
                digest = hashlib.file_digest(layer, "sha256").hexdigest()
                config["rootfs"]["diff_ids"][number] = f"sha256:{digest}"
                if f"{digest}.tar" not in layers:
                    info = tarfile.TarInfo(f"{digest}.tar")
                    info.size = layer.seek(0, os.SEEK_END)
                    layer.seek(0)
                    new.addfile(info, layer)
                layers.append(f"{digest}.tar")
        text = json.dumps(config).encode()
        config_name = f"{hashlib.sha256(text).hexdigest()}.json"
        _add(new, config_name, text)
        manifest = [{"Config": config_name, "RepoTags": [name], "Layers": layers}]
        _add(new, "manifest.json", json.dumps(manifest).encode())
    (work / "layer").unlink(missing_ok=True)
    return changed


def _has(content: Any, first: int, count: int) -> bool:
    with tarfile.open(fileobj=content, mode="r:") as layer:
        return any(first <= id < first + count for entry in layer for id in (entry.uid, entry.gid))


def _shift_layer(content: Any, to: Any, first: int, count: int) -> None:
    with (
        tarfile.open(fileobj=content, mode="r:") as old,
        tarfile.open(fileobj=to, mode="w:", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in old:
            entry.uid, entry.gid = inside(entry.uid, first, count), inside(entry.gid, first, count)
            entry.uname = entry.gname = ""
            # What it says of these would be written again as it was.
            kept = {key: value for key, value in entry.pax_headers.items() if key not in _PLAIN}
            entry.pax_headers = kept
            new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)


def _entry(archive: tarfile.TarFile, path: str) -> tarfile.TarInfo:
    """The file of that name; where it is a link, what that leads to."""
    entry = archive.getmember(path)
    if entry.issym():
        return archive.getmember(os.path.normpath(os.path.join(os.path.dirname(path), entry.linkname)))
    return entry


def _read(archive: tarfile.TarFile, path: str) -> bytes:
    found = archive.extractfile(path)
    assert found is not None
    return found.read()


def _add(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    info = tarfile.TarInfo(path)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
