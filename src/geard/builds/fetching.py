"""Source, brought into a folder of the build's own: nothing of it is run here, and nothing else is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geard.builds import archives
from geard.builds.running import Container, Engine
from geard.builds.scripts import NAMES, ScriptsAt
from geard.builds.sources import Source
from geard.failures import Invalid, NotFound, Unavailable
from geard.host.fetch import fetch_text, fetch_to
from geard.host.process import run

SECONDS = 3_600
CLONE = """
git clone --quiet --recurse-submodules -- "$1" /tmp/src && cd /tmp/src &&
if [ -n "$2" ]; then git checkout --quiet "$2" -- && git submodule --quiet update --init --recursive; fi &&
git rev-parse HEAD >/tmp/said/commit
"""
PROTOCOLS = "http:https:git:ssh"
SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new"


@dataclass(frozen=True)
class Fetched:
    folder: Path
    """what is built"""
    commit: str = ""


def copy_local(source: Source, to: Path, limit: int) -> Fetched:
    """A folder or an archive of this host, read as root. Raises NotFound, Invalid."""
    path = Path(source.at)
    if path.is_dir():
        shutil.copytree(path, to, symlinks=True, ignore=_not_files, dirs_exist_ok=True)
        return Fetched(part(to, source))
    if not path.exists():
        raise NotFound(f"there is no {path} on this host")
    if not path.is_file():
        raise Invalid(f"{path} is neither a folder nor an archive")
    with open(path, "rb") as archive:
        archives.unpack(archive, to, limit=limit)
    return Fetched(part(archives.top(to), source))


def unpack_sent(source: Source, archive: Path, to: Path, limit: int) -> Fetched:
    """Raises Invalid."""
    with open(archive, "rb") as file:
        archives.unpack(file, to, limit=limit)
    archive.unlink()
    return Fetched(part(archives.top(to), source))


async def download(source: Source, work: Path, to: Path, limit: int, allow: Sequence[str]) -> Fetched:
    """An archive from elsewhere, asked for as nobody. Raises Invalid."""
    file = work / "archive"
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "r+b") as archive:
        await fetch_to(archive.fileno(), source.at, allow, limit=limit, seconds=SECONDS)
        archive.seek(0)
        archives.unpack(archive, to, limit=limit)
    file.unlink()
    return Fetched(part(archives.top(to), source))


async def clone(engine: Engine, name: str, image: str, source: Source, work: Path, to: Path) -> Fetched:
    """A git repository, by a git in a container that has a way out and nothing of this host. Raises Invalid."""
    said = work / "said"
    said.mkdir(exist_ok=True)
    mounts = [(to, "/tmp/src"), (said, "/tmp/said")]  # noqa: S108 - inside the container
    where, protocols = source.at, PROTOCOLS
    if source.at.startswith("/"):
        here = work / "repository"
        here.mkdir()
        await _copy_repository(source.at, here)
        for objects in (Path(source.at, "objects"), Path(source.at, ".git/objects")):
            if objects.is_dir():  # once more: a push may have moved a branch since they were copied
                to_objects = str(here / objects.relative_to(source.at))
                await run(["cp", "-a", "--no-clobber", "--", f"{objects}/.", to_objects], timeout=SECONDS)
        mounts.append((here, "/tmp/repository"))  # noqa: S108
        where, protocols = "/tmp/repository", "file"  # noqa: S108
    container = Container(
        name,
        image,
        ("sh", "-c", CLONE, "sh", where, source.ref),
        mounts=tuple(mounts),
        environment={
            "HOME": "/tmp",  # noqa: S108
            "GIT_ALLOW_PROTOCOL": protocols,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": SSH,
        },
    )
    status = await engine.run(container)
    if status != 0:
        raise Invalid(f"git cannot fetch {source}: it ended with status {status}", hint="its words are in the log")
    commit = (said / "commit").read_text().strip()[:64]
    shutil.rmtree(to / ".git", ignore_errors=True)
    return Fetched(part(to, source), commit)


async def _copy_repository(at: str, to: Path) -> None:
    """A push or git gc may take files away meanwhile, so that it has to be done again. Raises Unavailable."""
    for left in (2, 1, 0):
        try:
            await run(["cp", "-a", "--reflink=auto", "--", f"{at}/.", str(to)], timeout=SECONDS)
            return
        except Unavailable:
            if not left:
                raise


async def scripts_from(place: ScriptsAt, to: Path, allow: Sequence[str]) -> list[str]:
    """Put those scripts that are at `place` (a URL, a folder of this host) into a folder; which there were.

    Raises Invalid where nothing answers there.
    """
    found: list[str] = []
    for name in NAMES:
        if place.way == "file":
            path = Path(place.at, name)
            if not path.is_file():
                continue
            (to / name).write_bytes(path.read_bytes())
        else:
            try:
                text = await fetch_text(f"{place.at}/{name}", allow)
            except Invalid as failure:
                if "answered 404" in failure.message or "answered 410" in failure.message:
                    continue
                raise
            (to / name).write_text(text)
        (to / name).chmod(0o755)
        found.append(name)
    return found


def scripts_of_source(folder: Path, places: Sequence[str], to: Path) -> list[str]:
    """The same for a source's own scripts."""
    found: list[str] = []
    for name in NAMES:
        for place in places:
            path = archives.beneath(folder, f"{place}/{name}")
            if path is not None and path.is_file():
                (to / name).write_bytes(path.read_bytes())
                (to / name).chmod(0o755)
                found.append(name)
                break
    return found


def part(folder: Path, source: Source) -> Path:
    """The folder of a source that is built. Raises NotFound."""
    if not source.folder:
        return folder
    found = archives.beneath(folder, source.folder)
    if found is None or not found.is_dir():
        raise NotFound(f"the source has no folder {source.folder}")
    return found


def _not_files(at: str, names: list[str]) -> list[str]:
    """Devices, pipes and sockets are left out."""
    odd = [Path(at, name) for name in names]
    return [path.name for path in odd if not (path.is_symlink() or path.is_file() or path.is_dir())]
