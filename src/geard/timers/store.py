"""Timers on disk: `/var/lib/containers/timers/NAME/`, and how systemd knows them.

timer                   what was asked; root's alone, since it holds variables
cron-NAME.timer .service    its units; systemd's own folder has links to them
suspended               there while it rests
skipped                 the times that were left out, a line each, the newest last
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geard.failures import Invalid, NotFound
from geard.host.paths import Paths
from geard.host.storage import Changes, locked, names, read_text
from geard.identifiers import check_id
from geard.jobs.requests import JobWish
from geard.timers.requests import Overlap, Skipped
from geard.words import Word, decode, encode

SKIPPED_KEPT = 20


class TimerRecord(Word):
    id: str
    schedule: str
    normalized: str
    job: JobWish
    overlap: Overlap = "forbid"
    catch_up: bool = True
    by: str = ""
    created: str = ""


@dataclass(frozen=True)
class TimerFolders:
    paths: Paths
    id: str

    @classmethod
    def of(cls, paths: Paths, id: str) -> TimerFolders:
        return cls(paths, check_id(id, "timer"))

    @property
    def kept(self) -> Path:
        return self.paths.base / "timers" / self.id

    @property
    def record(self) -> Path:
        return self.kept / "timer"

    @property
    def suspended(self) -> Path:
        return self.kept / "suspended"

    @property
    def timer(self) -> str:
        return f"cron-{self.id}.timer"

    @property
    def service(self) -> str:
        return f"cron-{self.id}.service"


def write(folders: TimerFolders, record: TimerRecord) -> bool:
    """Whether systemd may know an earlier one."""
    with Changes() as changes:
        changes.folder(folders.kept.parent, 0o700)
        changes.folder(folders.kept, 0o700)
        with locked(folders.kept):
            there = folders.record.exists()
            changes.write_all(
                [
                    (folders.kept / folders.timer, render_timer(record, folders.paths.base), 0o644),
                    (folders.kept / folders.service, render_service(record, folders.paths.base), 0o644),
                    (folders.record, encode(record) + b"\n", 0o600),
                ]
            )
            changes.remove(folders.suspended)
            make_known(folders, changes)
    return there


def make_known(folders: TimerFolders, changes: Changes) -> bool:
    """Whether systemd's folder has had no such links."""
    fresh = False
    for name in (folders.timer, folders.service):
        known = folders.paths.systemd / name
        fresh = fresh or not known.is_symlink()
        changes.point(known, folders.kept / name, derived=True)
    return fresh


def read(folders: TimerFolders) -> TimerRecord | None:
    text = read_text(folders.record)
    return decode(TimerRecord, text) if text else None


def require(folders: TimerFolders) -> TimerRecord:
    """Raises NotFound."""
    found = read(folders)
    if found is None:
        raise NotFound(f"there is no timer {folders.id} here", hint="gear cron list shows those that are there")
    return found


def all_timers(paths: Paths) -> Iterator[tuple[TimerFolders, TimerRecord]]:
    for name in names(paths.base / "timers"):
        try:
            folders = TimerFolders.of(paths, name)
            record = read(folders)
        except Invalid:
            continue
        if record is not None:
            yield folders, record


def suspend(folders: TimerFolders, suspended: bool) -> None:
    with Changes() as changes:
        if suspended:
            changes.mark(folders.suspended)
        else:
            changes.remove(folders.suspended)


def remove(folders: TimerFolders) -> None:
    """The record goes first: without it there is no timer."""
    with Changes() as changes:
        changes.remove(folders.record)
        for name in (folders.timer, folders.service):
            changes.remove(folders.paths.systemd / name)
        changes.remove_tree(folders.kept)


def note_skipped(folders: TimerFolders, at: str, why: str) -> None:
    with Changes() as changes, locked(folders.kept):
        lines = [f"{each.at} {each.why}\n" for each in skipped(folders)] + [f"{at} {why}\n"]
        changes.write(folders.kept / "skipped", "".join(lines[-SKIPPED_KEPT:]), 0o600)


def skipped(folders: TimerFolders) -> list[Skipped]:
    lines = (read_text(folders.kept / "skipped") or "").splitlines()
    return [Skipped(at=at, why=why) for at, _, why in (line.partition(" ") for line in lines)]


def render_timer(record: TimerRecord, base: Path) -> str:
    """`normalized` is systemd's own word for the schedule: nothing of anybody else's stands in the unit."""
    return f"""\
# Written by geard: gear cron show {record.id}
[Unit]
Description=Timer {record.id} (gear cron)
Documentation=man:gear(1)
RequiresMountsFor={base}

[Timer]
OnCalendar={record.normalized}
Persistent={"yes" if record.catch_up else "no"}
AccuracySec=1s
Unit=cron-{record.id}.service
"""


def render_service(record: TimerRecord, base: Path) -> str:
    return f"""\
# Written by geard: gear cron show {record.id}
[Unit]
Description=Job of timer {record.id} (gear cron)
Documentation=man:gear(1)
Wants=geard-host.service network-online.target
After=geard-host.service network-online.target
RequiresMountsFor={base}

[Service]
Type=oneshot
ExecStart=/usr/bin/gear cron fire {record.id}
SyslogIdentifier=%N
"""
