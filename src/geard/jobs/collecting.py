"""Nothing of jobs accumulates: what has ended goes by rule, what a killed process left is put right."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from geard.containers import slots
from geard.containers.slices import JOBS
from geard.failures import Failure, Invalid
from geard.host import Host
from geard.host.engine import OnceSpec, RunSpec
from geard.host.paths import Paths
from geard.host.process import run
from geard.host.storage import Changes, names
from geard.identifiers import check_id
from geard.jobs import records
from geard.jobs.records import JobFolders, JobRecord, unit_name
from geard.jobs.settings import JobSettings

YOUNG_SECONDS = 600.0
"""for who is just making a job"""


def expired(ended: Mapping[str, float], settings: JobSettings, now: float) -> list[str]:
    """Which of the jobs that ended then are kept no longer. Pure."""
    newest = sorted(ended, key=lambda id: ended[id], reverse=True)
    oldest = now - settings.keep_hours * 3_600
    return [id for number, id in enumerate(newest) if number >= settings.keep_jobs or ended[id] < oldest]


async def tidy(host: Host) -> None:
    await _settle_the_lost(host)
    await asyncio.to_thread(_remove_expired, host)
    await asyncio.to_thread(_release_slots, host.paths)
    await asyncio.to_thread(_remove_states, host.paths)
    await _stop_slices(host)


async def _settle_the_lost(host: Host) -> None:
    """Jobs of which nobody will say how they ended: their machine went down, or their unit is gone."""
    boot = records.boot_id()
    found = await asyncio.to_thread(lambda: list(records.all_jobs(host.paths)))
    for folders, record in found:
        if folders.result.exists():
            continue
        if record.boot == boot:
            age = time.time() - datetime.fromisoformat(record.created).timestamp()
            if (
                0 <= age < YOUNG_SECONDS
            ):  # one from a time that is yet to come is no younger: the clock was set back
                continue
            try:
                if (await host.systemd.state(unit_name(record.id))).load != "not-found":
                    continue
            except Failure:
                continue
        with suppress(Failure):  # the engine's record of it has outlived its machine, perhaps
            engine = host.engine_named(record.engine)
            name = records.engine_name(record.id)
            line = await engine.once(RunSpec(name, ""), OnceSpec("", JOBS.name))
            await run([*line.remove, name], check=False)
        await asyncio.to_thread(_write_off, folders, record, boot)


def _write_off(folders: JobFolders, record: JobRecord, boot: str) -> None:
    cut = record.boot == boot
    result = {
        "Status": 125,
        "Reason": "cut" if cut else "lost",
        "Message": "its unit is gone, and nobody wrote down how it ended" if cut else records.lost().message,
        "Ended": time.time(),
    }
    with Changes() as changes:
        changes.write(folders.result, json.dumps(result), 0o600)
        slots.release(folders.paths, changes, record.slot, folders.kept)


def _remove_expired(host: Host) -> None:
    ended: dict[str, float] = {}
    for folders in records.all_folders(host.paths):
        try:
            ended[folders.id] = folders.result.stat().st_mtime
        except FileNotFoundError:
            with suppress(FileNotFoundError):
                if not folders.record.exists() and time.time() - folders.kept.stat().st_mtime > YOUNG_SECONDS:
                    ended[folders.id] = 0  # whoever made it was killed before it was a job
    for id in expired(ended, host.settings.section(JobSettings), time.time()):
        with suppress(OSError), records.alone(host.paths), Changes() as changes:
            records.remove(JobFolders.of(host.paths, id), changes)


def _release_slots(paths: Paths) -> None:
    """Those of jobs that have ended, or never came to be."""
    base, jobs = paths.base / "slots", f"{paths.base}/jobs/"
    for number in map(int, filter(str.isdigit, names(base))):
        with suppress(OSError), Changes() as changes:
            owner = os.readlink(base / str(number))
            if not owner.startswith(jobs):
                continue
            folders = JobFolders.of(paths, Path(owner).name)
            old = time.time() - (base / str(number)).lstat().st_mtime > YOUNG_SECONDS
            if folders.result.exists() or (old and not folders.record.exists()):
                slots.release(paths, changes, number, Path(owner))


def _remove_states(paths: Paths) -> None:
    """What stands below /run of jobs that have ended, or are gone."""
    with suppress(FileNotFoundError):
        for entry in list(os.scandir(paths.run / "jobs")):
            with suppress(Invalid):
                folders = JobFolders.of(paths, check_id(entry.name, "job"))
                young = time.time() - entry.stat().st_mtime < YOUNG_SECONDS
                if not young and (folders.result.exists() or not folders.record.exists()):
                    shutil.rmtree(entry.path, ignore_errors=True)


async def _stop_slices(host: Host) -> None:
    """Those of jobs whose unit did not come to its last step."""
    found = await host.systemd.units(f"{JOBS.name}-*.slice")
    if not found:
        return
    jobs = await asyncio.to_thread(lambda: list(records.all_jobs(host.paths)))
    needed = {
        records.slice_name(record.id, beside=True) for folders, record in jobs if not folders.result.exists()
    }
    for slice in found.keys() - needed:
        with suppress(Failure):
            await host.systemd.stop(slice)
