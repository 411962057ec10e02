"""Gears that are idle: the flag on disk that says so, and what the waker is to hold for them.

An idle gear's unit has `ctr-ID.idle` beside it (the 2014 README's name), and no link that says it is to run: its
first connection has it start, by the waker (docs/IDLING.md). Whoever takes the flag away does so under its lock,
so that of a stop and a wake at the same moment one comes first.
"""

from __future__ import annotations

import fcntl
import grp
import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.host.paths import Paths
from geard.host.storage import Changes, read_text
from geard.ports.requests import PortPair, PublishedPorts
from geard.words import part_of

FREEZE, STOP = "freeze", "stop"
WAKER = "geard-waker.service"
SOURCES = "GEAR_WAKE_FROM"
"""the line of a definition with the networks whose connections wake it; without it all do"""
UDP = "GEAR_WAKE_UDP"
"""… which says that datagrams to its ports wake it too"""
WHEN = "GEAR_WAKE_WHEN"
"""… with `ready`: it is up when its start is over, not as soon as it listens"""
WAKERS = "geard-waker"
"""the group of the waker"""


@dataclass(frozen=True)
class Asleep:
    """How a gear is idle, and since when (RFC 3339)."""

    depth: str
    since: str
    memory: int = 0
    """bytes that it held before; 0 where that is not known"""


def read(folders: Folders) -> Asleep | None:
    """None for a gear that is not idle."""
    text = read_text(folders.idle)
    if text is None:
        return None
    words = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    memory = words.get("memory", "")
    depth = FREEZE if words.get("depth") == FREEZE else STOP
    return Asleep(depth, words.get("since", ""), int(memory) if memory.isdigit() and memory.isascii() else 0)


def flag(folders: Folders, changes: Changes, asleep: Asleep) -> None:
    """On record: idle, and not to run."""
    changes.write(folders.idle, f"depth {asleep.depth}\nsince {asleep.since}\nmemory {asleep.memory}\n")
    changes.remove(folders.wanted)


def forget(folders: Folders, changes: Changes) -> None:
    """The gear is not idle any more: it is told to start, to stop, or to go."""
    with locked(folders):
        changes.remove(folders.idle)
        thaw(folders)
    with suppress(FileNotFoundError):
        os.unlink(held(folders.paths, folders.id))


@contextmanager
def locked(folders: Folders) -> Generator[None]:
    """While this lasts nobody else takes the flag away. Where there is none, nothing is locked."""
    try:
        fd = os.open(folders.idle, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def held(paths: Paths, id: str) -> Path:
    """What the waker holds for this gear: it watches the folder."""
    return paths.run / "idle" / f"ctr-{id}"


def hold(folders: Folders, definition: Definition, *, by_waker: bool = False) -> None:
    """Have first packets to the gear's ports held, as long as it is idle. Gone with a reboot, and made again.

    `by_waker`: it is frozen and listens, so the waker itself has it go on.
    """
    path = held(folders.paths, folders.id)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    noted = read_text(folders.state / "frozen") if by_waker else None
    said = _said(folders)
    lines = render_held(_ports(definition, said), noted or "", said.get(SOURCES, ""), said.get(WHEN, ""))
    draft.write_text(lines, encoding="ascii")
    os.rename(draft, path)
    if not folders.idle.exists():  # it was woken, or told something else, meanwhile
        with suppress(FileNotFoundError):
            os.unlink(path)


def ports(folders: Folders, definition: Definition) -> tuple[PortPair, ...]:
    """Those by which a gear can be woken."""
    return _ports(definition, _said(folders))


def _ports(definition: Definition, said: Mapping[str, str]) -> tuple[PortPair, ...]:
    published = part_of(PublishedPorts, definition.parts)
    pairs = published.value if published is not None else ()
    protocols = ("tcp", "udp") if said.get(UDP) else ("tcp",)
    return tuple(pair for pair in pairs if pair.protocol in protocols)


def _said(folders: Folders) -> dict[str, str]:
    """The lines of a gear's definition, by name."""
    rows = (line.partition("=") for line in (read_text(folders.run) or "").splitlines())
    return {name: value.strip('"') for name, _, value in rows}


def render_held(pairs: Iterable[PortPair], switch: str = "", sources: str = "", when: str = "") -> str:
    """A port of the host, the gear's own, the host's address (`*` for all) on each line; what has it go on; who
    may wake it; and when it is up.
    """
    rows = [f"{pair.protocol} {pair.external} {pair.internal} {pair.address or '*'}\n" for pair in pairs]
    rows += [f"thaw {switch.strip()}\n"] if switch else []
    rows += [f"when {when}\n"] if when else []
    return "".join(rows) + (f"from {sources}\n" if sources else "")


def freeze(folders: Folders, switch: Path, on: str, off: str) -> bool:
    """Have it stand still; False where it was woken meanwhile. Under the lock of the flag, so that who takes that
    away finds what is to be undone.
    """
    with locked(folders):
        if not folders.idle.exists():
            return False
        draft = folders.state / ".frozen"
        draft.write_text(f"{switch} {off}\n", encoding="ascii")
        draft.rename(folders.state / "frozen")
        with suppress(KeyError, OSError):  # without that group, gear-wake does it, and takes longer
            os.chown(switch, -1, grp.getgrnam(WAKERS).gr_gid)
            switch.chmod(0o664)
        switch.write_text(on, encoding="ascii")
    return True


def keep_ready(folders: Folders, reads: Iterable[Path]) -> bool:
    """Have the next start make the container and no more, by what is in these files now; False where it was woken
    meanwhile. A wake that finds another file in the place of one makes the container anew.
    """
    with locked(folders):
        if not folders.idle.exists():
            return False
        folders.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folders.ready.with_name(".ready")
        draft.write_text("".join(f"{path} {_stamp(path)}\n" for path in (folders.run, *reads)), encoding="utf-8")
        draft.rename(folders.ready)
    return True


def is_ready(folders: Folders) -> bool:
    """Whether its container is kept ready, and made from what is there now."""
    rows = [line.split(" ", 1) for line in (read_text(folders.ready) or "").splitlines()]
    return bool(rows) and all(_stamp(Path(path)) == stamp for path, stamp in rows)


def _stamp(path: Path) -> str:
    """Which file it is, and since when it is so (as in unit_hooks/wake.py)."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return "-"
    return f"{status.st_ino}:{status.st_ctime_ns}"


def thaw(folders: Folders) -> None:
    """Have what was frozen go on. What is to be written where stands in `frozen`, for hooks as well."""
    text = read_text(folders.state / "frozen")
    if text is None:
        return
    path, _, word = text.strip().rpartition(" ")
    with suppress(OSError):  # it has ended
        Path(path).write_text(word, encoding="ascii")
        os.chown(path, 0, 0)
    with suppress(FileNotFoundError):
        os.unlink(folders.state / "frozen")
