"""Timers, done."""

from __future__ import annotations

from datetime import UTC, datetime

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import Unavailable
from geard.host import Host
from geard.host.storage import Changes
from geard.jobs import records
from geard.jobs.requests import Job
from geard.jobs.showing import ENDED
from geard.jobs.wishes import check_job, definition_of
from geard.request import Nothing
from geard.timers import store
from geard.timers.calendar import normalized
from geard.timers.requests import (
    AddTimer,
    FireTimer,
    Firing,
    GetTimer,
    ListTimers,
    RemoveTimer,
    RunTimer,
    StartTimers,
    SuspendTimer,
    Timer,
    TimerList,
)
from geard.timers.store import TimerFolders, TimerRecord

TIMER = "org.freedesktop.systemd1.Timer"
START_SECONDS = 30.0


@operation
async def add_timer(request: AddTimer, work: Work) -> Timer:
    folders = TimerFolders.of(work.host.paths, request.id)
    check_job(request.job, work.asker, work.host)
    work.asker.check_reach(request.names())
    await work.on_disk(definition_of, work.host, request.job, work.asker)
    record = TimerRecord(
        id=request.id,
        schedule=request.schedule,
        normalized=await normalized(request.schedule),
        job=request.job,
        overlap=request.overlap,
        catch_up=request.catch_up,
        by=work.asker.name,
        created=_now(),
    )
    if await work.on_disk(store.write, folders, record):
        # One that failed as an earlier timer's is kept as systemd last knew it, a reload or not.
        await work.host.systemd.reset_failed(folders.service)
        await work.host.systemd.reload()
    await _begin(work.host, folders)
    return await _shown(work.host, folders, record)


async def _begin(host: Host, folders: TimerFolders) -> None:
    result = await host.systemd.restart(folders.timer, wait=START_SECONDS)
    if result != "done":
        raise Unavailable(
            f"systemd does not start {folders.timer}: {result}", hint=f"systemctl status {folders.timer}"
        )


@operation
async def list_timers(request: ListTimers, work: Work) -> TimerList:
    found = await work.on_disk(lambda: list(store.all_timers(work.host.paths)))
    shown = [await _shown(work.host, *each) for each in found if work.asker.reaches(each[1].id)]
    return TimerList(timers=tuple(shown))


@operation
async def get_timer(request: GetTimer, work: Work) -> Timer:
    folders = TimerFolders.of(work.host.paths, request.id)
    record = await work.on_disk(store.require, folders)
    jobs = await work.on_disk(_jobs, work.host, record.id)
    return await _shown(work.host, folders, record, tuple(jobs))


@operation
async def remove_timer(request: RemoveTimer, work: Work) -> Nothing:
    folders = TimerFolders.of(work.host.paths, request.id)
    systemd = work.host.systemd
    for unit in (folders.timer, folders.service):  # one that is just firing would find nothing, and stay as failed
        await systemd.stop(unit, wait=START_SECONDS)
    await work.on_disk(store.remove, folders)
    await systemd.reload()
    await systemd.reset_failed(folders.service)
    return Nothing()


@operation
async def suspend_timer(request: SuspendTimer, work: Work) -> Timer:
    folders = TimerFolders.of(work.host.paths, request.id)
    record = await work.on_disk(store.require, folders)
    await work.on_disk(store.suspend, folders, request.suspended)
    if request.suspended:
        await work.host.systemd.stop(folders.timer, wait=START_SECONDS)
    else:
        await _begin(work.host, folders)
    return await _shown(work.host, folders, record)


@operation
async def run_timer(request: RunTimer, work: Work) -> Nothing:
    folders = TimerFolders.of(work.host.paths, request.id)
    await work.on_disk(store.require, folders)
    await work.host.systemd.start(folders.service)
    return Nothing()


@operation
async def fire_timer(request: FireTimer, work: Work) -> Firing:
    """What is asked here is right whoever has killed what before: it goes by the jobs that are there."""
    folders = TimerFolders.of(work.host.paths, request.id)
    record = await work.on_disk(store.require, folders)
    running = [job.id for job in await work.on_disk(_jobs, work.host, record.id) if job.state != ENDED]
    if running and record.overlap == "forbid":
        why = f"{running[0]} still runs"
        await work.on_disk(store.note_skipped, folders, _now(), why)
        return Firing(job=record.job, skip=why)
    return Firing(job=record.job, end_first=tuple(running) if record.overlap == "replace" else ())


@operation
async def start_timers(request: StartTimers, work: Work) -> Nothing:
    def make_known() -> tuple[bool, list[TimerFolders]]:
        found = [folders for folders, _ in store.all_timers(work.host.paths)]
        with Changes() as changes:
            fresh = [store.make_known(folders, changes) for folders in found]
        return any(fresh), [folders for folders in found if not folders.suspended.exists()]

    fresh, found = await work.on_disk(make_known)
    # Where the disk came late systemd has read links that led nowhere.
    if fresh or any([(await work.host.systemd.state(each.timer)).load != "loaded" for each in found]):
        await work.host.systemd.reload()
    for folders in found:
        await work.host.systemd.start(folders.timer)
    return Nothing()


def _jobs(host: Host, timer: str) -> list[Job]:
    boot = records.boot_id()
    found = [
        records.shown(folders, record, boot)
        for folders, record in records.all_jobs(host.paths)
        if record.timer == timer
    ]
    return sorted(found, key=lambda job: job.created, reverse=True)


async def _shown(host: Host, folders: TimerFolders, record: TimerRecord, jobs: tuple[Job, ...] = ()) -> Timer:
    properties = await host.systemd.properties(folders.timer, TIMER)
    suspended = folders.suspended.exists()
    next, last = (_moment(properties.get(name, 0)) for name in ("NextElapseUSecRealtime", "LastTriggerUSec"))
    if not next and (await host.systemd.state(folders.timer)).sub == "running":
        next = last  # it is firing just now: systemd works out the time after that behind it
    return Timer(
        id=record.id,
        schedule=record.schedule,
        normalized=record.normalized,
        overlap=record.overlap,
        catch_up=record.catch_up,
        suspended=suspended,
        image=record.job.image,
        gear=record.job.gear,
        program=(record.job.entrypoint or record.job.command or ("",))[0][:200],
        by=record.by,
        created=record.created,
        next="" if suspended else next,
        last=last,
        jobs=jobs,
        skipped=tuple(store.skipped(folders)),
    )


def _moment(microseconds: int) -> str:
    if not 0 < microseconds < 1 << 62:
        return ""
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
