"""Jobs on disk.

/var/lib/containers/jobs/ab/ID/          the job is there while this folder is
    job        what was asked and decided, written before the answer
    output*    what it wrote (output.py)
    result     how it ended; it has ended as soon as this is there
    artifacts/ the folder it may hand back
/run/geard/jobs/ID/                      while it runs: the order for its unit, secrets, its door
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from geard.containers import slots
from geard.containers.requests import Limits
from geard.containers.slices import JOBS
from geard.failures import AlreadyExists, Invalid, NotFound
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, names, read_text
from geard.identifiers import bucket, check_id
from geard.jobs.requests import Job, JobResult
from geard.jobs.showing import ENDED
from geard.words import Word, decode, encode


class JobRecord(Word):
    """A job as it is written down."""

    id: str
    request: str
    created: str
    by: str = ""
    boot: str = ""
    image: str = ""
    gear: str = ""
    timer: str = ""
    program: str = ""
    engine: str = "podman"
    slot: int = 0
    variables: tuple[str, ...] = ()
    user: str = ""
    limits: Limits = Limits()
    stop_timeout: int = 10
    time_limit: float = 0
    artifacts: str = ""
    simple: bool = False
    stdin: bool = False
    tty: bool = False


@dataclass(frozen=True)
class JobFolders:
    paths: Paths
    id: str

    @classmethod
    def of(cls, paths: Paths, id: str) -> JobFolders:
        return cls(paths, check_id(id, "job"))

    @property
    def kept(self) -> Path:
        return self.paths.base / "jobs" / bucket(self.id) / self.id

    @property
    def record(self) -> Path:
        return self.kept / "job"

    @property
    def result(self) -> Path:
        return self.kept / "result"

    @property
    def artifacts(self) -> Path:
        return self.kept / "artifacts"

    @property
    def state(self) -> Path:
        return self.paths.run / "jobs" / self.id


def unit_name(id: str) -> str:
    return f"job-{id}.service"


def engine_name(id: str) -> str:
    """The engine's name of a job's container."""
    return f"job-{id}"


def slice_name(id: str, *, beside: bool) -> str:
    """Where a job's unit is: in a slice of its own where its container is beside it, to be counted with it.

    In the name of one a '-' would mean a slice inside another.
    """
    own = f"-{hashlib.sha256(id.encode()).hexdigest()[:16]}" if beside else ""
    return f"{JOBS.name}{own}.slice"


def boot_id() -> str:
    return (read_text(Path("/proc/sys/kernel/random/boot_id")) or "").strip()


@contextmanager
def alone(paths: Paths) -> Generator[None]:
    """Nobody else makes or removes a job meanwhile: a folder without a record is what a killed process left."""
    with Changes() as changes:
        changes.folder(paths.base / "jobs", 0o700)
    with locked(paths.base / "jobs"):
        yield


def claim(folders: JobFolders, changes: Changes, request: str) -> JobRecord | None:
    """A name is a job's while its folder is there; the record that this very request has written before. To be
    called by who is `alone`. Raises AlreadyExists.
    """
    changes.folder(folders.kept.parent, 0o700)
    if changes.folder(folders.kept, 0o700):
        return None
    before = read(folders)
    if before is None:
        return None
    if before.request != request:
        ended = folders.result.exists()
        raise AlreadyExists(
            f"there is a job {folders.id} here already, {'kept since it ended' if ended else 'not ended yet'}",
            hint=f"gear job remove {folders.id}" if ended else "another name, or none: one is given then",
        )
    return before


def read(folders: JobFolders) -> JobRecord | None:
    text = read_text(folders.record)
    return decode(JobRecord, text) if text else None


def require(folders: JobFolders) -> JobRecord:
    """Raises NotFound."""
    found = read(folders)
    if found is None:
        raise NotFound(f"there is no job {folders.id} here", hint="gear jobs -a shows those that are kept")
    return found


def write(folders: JobFolders, changes: Changes, record: JobRecord) -> None:
    changes.write(folders.record, encode(record) + b"\n", 0o600)


def result(folders: JobFolders) -> JobResult | None:
    text = read_text(folders.result)
    if not text:
        return None
    try:
        return decode(JobResult, text)
    except Invalid:
        return JobResult(status=125, reason="cut", message="its result cannot be read")


def phase(folders: JobFolders) -> tuple[str, float]:
    """What its unit is at, and since when; empty where that has not begun."""
    name, _, at = (read_text(folders.state / "phase") or "").strip().partition(" ")
    return name, float(at or 0)


def shown(folders: JobFolders, record: JobRecord, now_boot: str) -> Job:
    ended = result(folders)
    state, at = (ENDED, 0.0) if ended is not None else phase(folders)
    if ended is None and record.boot != now_boot:
        state, ended = ENDED, lost()
    if ended is None and state == "running":
        ended_not = JobResult(started=at)
    else:
        ended_not = None
    return Job(
        id=record.id,
        unit=unit_name(record.id),
        state=state or "waiting",
        result=ended or ended_not,
        **{name: getattr(record, name) for name in _ALIKE},
    )


_ALIKE = tuple(
    name
    for name in JobRecord.__struct_fields__
    if name in Job.__struct_fields__ and name not in ("id", "unit", "state", "result")
)


def lost() -> JobResult:
    return JobResult(status=125, reason="lost", message="the machine went down while it ran")


def all_jobs(paths: Paths) -> Iterator[tuple[JobFolders, JobRecord]]:
    """In no order. What cannot be read is passed over: the next tidying takes it."""
    for folders in all_folders(paths):
        try:
            record = read(folders)
        except (Invalid, msgspec.MsgspecError):
            continue
        if record is not None:
            yield folders, record


def gears_with_jobs(paths: Paths) -> set[str]:
    """The gears in which a job is under way (`gear run --in`), or about to be."""
    now_boot = boot_id()
    return {
        record.gear
        for folders, record in all_jobs(paths)
        if record.gear and record.boot == now_boot and not folders.result.exists()
    }


def all_folders(paths: Paths) -> Iterator[JobFolders]:
    base = paths.base / "jobs"
    for first in names(base):
        for id in names(base / first):
            try:
                yield JobFolders.of(paths, id)
            except Invalid:
                continue


def remove(folders: JobFolders, changes: Changes) -> None:
    """All that is kept of it. The record goes last but the folder: until then it is the same job. To be called by
    who is `alone`.
    """
    record = read(folders)
    if record is not None:
        slots.release(folders.paths, changes, record.slot, folders.kept)
    for entry in names(folders.kept):
        if entry != "job":
            changes.remove_tree(folders.kept / entry)
    changes.remove_tree(folders.kept)
    try:
        os.rmdir(folders.kept.parent)
    except OSError:
        return
