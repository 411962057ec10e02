"""Jobs, done."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

from geard.containers import slots
from geard.containers.definition import Definition
from geard.containers.settings import ContainerSettings
from geard.containers.sizes import parse_size
from geard.containers.wishes import check_sources, check_user
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.exchange import Line, Talk
from geard.failures import Failure, NotFound, PreconditionFailed
from geard.host.engine import Engine
from geard.host.storage import Changes
from geard.images.pulling import check_obtainable
from geard.jobs import collecting, records, starting
from geard.jobs.archiving import archive
from geard.jobs.attaching import attach
from geard.jobs.lines import Lines
from geard.jobs.output import Reader
from geard.jobs.records import JobFolders, JobRecord, unit_name
from geard.jobs.requests import (
    AttachToJob,
    AwaitJob,
    CanceledJob,
    CancelJob,
    FollowJobLog,
    GetArtifacts,
    GetJob,
    Job,
    JobList,
    JobOutput,
    JobResult,
    ListJobs,
    RemoveJob,
    RunJob,
    StartedJob,
    StartJob,
    StopJobUnit,
    TidyJobs,
)
from geard.jobs.settings import JobSettings
from geard.jobs.showing import ENDED
from geard.jobs.wishes import as_gear, check_job, definition_of
from geard.request import Piece

FOLLOW_SECONDS = 0.1
AWAIT_SECONDS = 0.5


def id_of(request: str) -> str:
    """A name that follows from the request's id: asked twice, it is one job."""
    digest = hashlib.sha256(f"job {request}".encode()).digest()
    return base64.b32encode(digest)[:12].decode().lower()


@operation
async def run_job(request: RunJob, work: Work) -> StartedJob:
    host, id = work.host, request.id or id_of(work.id)
    check_job(request, work.asker, host)
    gear = await work.on_disk(definition_of, host, request, work.asker)
    engine = host.engine_named(gear.engine if gear is not None else request.engine)
    if gear is None:
        await check_obtainable(host, engine, request.image)
    if request.volume_config.volume_mounts:
        await work.on_disk(check_sources, as_gear(request))
    settings = host.settings.section(JobSettings)
    variables = await work.on_disk(starting.variables_of, host, request, gear)
    record, fresh = await work.on_disk(_record, request, work, id, engine, gear, tuple(variables))
    links = ""
    if fresh:
        folders = JobFolders.of(host.paths, id)
        try:
            if gear is not None:
                variables |= await work.on_disk(starting.secrets_of, host, gear, folders, work.facets)
                variables |= request.environment
                led, links = await work.on_disk(starting.links_of, host, gear, record, folders, variables)
                variables |= led
            plan = starting.plan(host, request, record, folders, gear, work.facets, variables, links)
            line = await engine.once(plan.spec, plan.how)
            order = starting.order(host, record, folders, plan, line, settings)
            order |= {"Rows": request.rows, "Columns": request.columns}
            if plan.how.level:
                await work.on_disk(starting.confine, folders, plan.how.level)
            await work.on_disk(starting.lay_out, folders, order, plan.env_lines)
        except BaseException:
            await work.on_disk(_forget, folders)  # nothing has begun, and the name is free again
            raise
    work.owe(StartJob(id=id), *([AwaitJob(id=id)] if request.report else []))
    return StartedJob(id=id, unit=unit_name(id))


def _record(
    request: RunJob, work: Work, id: str, engine: Engine, gear: Definition | None, variables: tuple[str, ...]
) -> tuple[JobRecord, bool]:
    """Its record, and whether its order has yet to be written. Raises AlreadyExists, Unavailable, Invalid."""
    host, settings = work.host, work.host.settings.section(JobSettings)
    folders = JobFolders.of(host.paths, id)
    limits = starting.limits_of(request, settings)
    known = engine.known(request.image) if gear is None else None
    if known is not None:
        check_user(known.user, simple=request.simple or not engine.maps_users)
    with records.alone(host.paths), Changes() as changes:
        before = records.claim(folders, changes, work.id)
        if before is not None:
            return before, not (folders.state / "order").exists() and not folders.result.exists()
        slot = slots.kept(host.paths, folders.kept)
        try:
            if slot is None:
                slot = slots.reserve(
                    host.paths, changes, folders.kept, host.settings.section(ContainerSettings).slots
                )
            if request.artifacts:
                changes.folder(folders.artifacts, 0o700)
                folders.artifacts.chmod(0o1777)
            record = JobRecord(
                id=id,
                request=work.id,
                created=datetime.now(UTC).isoformat(timespec="milliseconds"),
                by=work.asker.name,
                boot=records.boot_id(),
                image=gear.image if gear is not None else request.image,
                gear=request.gear,
                timer=request.timer,
                program=request.told_program(),
                engine=engine.name,
                slot=slot,
                variables=variables,
                user=request.user,
                limits=limits,
                stop_timeout=10 if request.stop_timeout is None else request.stop_timeout,
                time_limit=settings.time_limit if request.time_limit is None else request.time_limit,
                artifacts=request.artifacts,
                simple=gear.simple if gear is not None else request.simple,
                stdin=request.stdin,
                tty=request.tty,
            )
            records.write(folders, changes, record)
        except BaseException:
            if slot is not None:
                slots.release(host.paths, changes, slot, folders.kept)
            changes.remove_tree(folders.kept)
            raise
    return record, True


def _forget(folders: JobFolders) -> None:
    shutil.rmtree(folders.state, ignore_errors=True)
    with records.alone(folders.paths), Changes() as changes:
        records.remove(folders, changes)


@operation
async def start_job(request: StartJob, work: Work) -> StartedJob:
    """The unit is made once: what has begun has left a `phase`, what has ended a `result`."""
    folders, unit = JobFolders.of(work.host.paths, request.id), unit_name(request.id)
    record = await work.on_disk(records.require, folders)
    if not folders.result.exists() and not records.phase(folders)[0]:
        try:
            if not (folders.state / "order").exists():
                raise PreconditionFailed("the machine was started anew before it began")
            slice = records.slice_name(record.id, beside=work.host.engine_named(record.engine).beside)
            properties = starting.properties(record, work.host.paths.base, slice)
            await work.host.systemd.start_transient(unit, properties)
        except Failure as failure:
            await work.on_disk(_not_started, folders, record, failure)
            raise
    if work.lasting:
        work.say("starting", f"job {request.id} is starting", request.id)
    return StartedJob(id=request.id, unit=unit)


@operation
async def await_job(request: AwaitJob, work: Work) -> StartedJob:
    folders = JobFolders.of(work.host.paths, request.id)
    record = await work.on_disk(records.read, folders)
    while record is not None and not _has_ended(folders, record):  # noqa: ASYNC110 - the disk says so, no event
        await asyncio.sleep(AWAIT_SECONDS)
    result = await work.on_disk(records.result, folders) or records.lost()
    how = f": {result.message}" if result.message else ""
    work.conclude("ended", f"job {request.id} ended with {result.status}{how}", request.id)
    return StartedJob(id=request.id, unit=unit_name(request.id))


def _not_started(folders: JobFolders, record: JobRecord, failure: Failure) -> None:
    result = {"Status": 125, "Reason": "not started", "Message": failure.message}
    with Changes() as changes:
        changes.write(folders.result, json.dumps({**result, "Ended": datetime.now(UTC).timestamp()}), 0o600)
        slots.release(folders.paths, changes, record.slot, folders.kept)
    shutil.rmtree(folders.state, ignore_errors=True)


@operation
async def attach_to_job(request: AttachToJob, work: Work) -> Talk:
    record = await work.on_disk(records.require, JobFolders.of(work.host.paths, request.id))

    async def talk(line: Line) -> int:
        return await attach(line, work.host, request, record)

    return talk


@operation
async def list_jobs(request: ListJobs, work: Work) -> JobList:
    def find() -> list[Job]:
        boot = records.boot_id()
        found = [records.shown(folders, record, boot) for folders, record in records.all_jobs(work.host.paths)]
        return sorted(found, key=lambda job: job.created, reverse=True)

    found = [
        job
        for job in await work.on_disk(find)
        if (request.all or job.state != ENDED)
        and (not request.timer or job.timer == request.timer)
        and work.asker.reaches(job.id)
    ]
    return JobList(jobs=tuple(found))


@operation
async def get_job(request: GetJob, work: Work) -> Job:
    folders = JobFolders.of(work.host.paths, request.id)
    record = await work.on_disk(records.require, folders)
    return records.shown(folders, record, records.boot_id())


@operation
async def follow_job_log(request: FollowJobLog, work: Work) -> AsyncIterator[JobOutput]:
    folders = JobFolders.of(work.host.paths, request.id)
    record = await work.on_disk(records.require, folders)
    reader, parts, first = Reader(str(folders.kept)), Lines(), True
    try:
        more = True
        while more:
            # Asked first: what is written before it has ended is read below.
            more = request.follow and not _has_ended(folders, record)
            found = deque(
                (line for each in iter(reader.read, None) for line in parts.take(each)),
                maxlen=request.tail if first else None,
            )
            if not more:
                found.extend(parts.rest())
            for line in found:
                yield line
            first = False
            if more:
                await asyncio.sleep(FOLLOW_SECONDS)
    finally:
        reader.close()


@operation
async def get_artifacts(request: GetArtifacts, work: Work) -> AsyncIterator[Piece]:
    folders = JobFolders.of(work.host.paths, request.id)
    record = await work.on_disk(records.require, folders)
    if not record.artifacts:
        raise NotFound(f"job {request.id} hands nothing back", hint="gear run --artifacts DIR …")
    if not _has_ended(folders, record):
        raise PreconditionFailed(f"job {request.id} has not ended", hint=f"gear job wait {request.id}")
    most = parse_size(work.host.settings.section(JobSettings).artifacts)
    pieces = archive(str(folders.artifacts), most)
    while piece := await work.on_disk(next, pieces, b""):
        yield Piece(data=piece)


def _has_ended(folders: JobFolders, record: JobRecord) -> bool:
    return folders.result.exists() or record.boot != records.boot_id() or not folders.record.exists()


@operation
async def cancel_job(request: CancelJob, work: Work) -> CanceledJob:
    folders = JobFolders.of(work.host.paths, request.id)
    record = await work.on_disk(records.require, folders)
    if _has_ended(folders, record):
        return CanceledJob(id=request.id, message=f"job {request.id} has ended")

    def note() -> None:
        with Changes() as changes:
            changes.write(folders.state / "cancel", json.dumps({"By": work.asker.name}), 0o600)

    with suppress(FileNotFoundError):  # it has ended just now
        await work.on_disk(note)
    work.owe(StopJobUnit(id=request.id))
    return CanceledJob(id=request.id, message=f"job {request.id} is being ended")


@operation
async def stop_job_unit(request: StopJobUnit, work: Work) -> CanceledJob:
    folders = JobFolders.of(work.host.paths, request.id)
    record = await work.on_disk(records.read, folders)
    if record is None:
        return CanceledJob(id=request.id, message="")
    seconds = record.stop_timeout + starting.PATIENCE + 30.0
    await work.host.systemd.stop(unit_name(request.id), wait=seconds if work.lasting else None)
    if work.lasting:
        result = await work.on_disk(records.result, folders) or JobResult()
        work.conclude("ended", f"job {request.id} ended with {result.status}", request.id)
    return CanceledJob(id=request.id, message="")


@operation
async def remove_job(request: RemoveJob, work: Work) -> CanceledJob:
    folders = JobFolders.of(work.host.paths, request.id)
    record = await work.on_disk(records.read, folders)
    if record is None and not folders.kept.exists():
        return CanceledJob(id=request.id, message=f"there is no job {request.id} here")
    if record is not None and not _has_ended(folders, record):
        raise PreconditionFailed(f"job {request.id} has not ended", hint=f"gear job cancel {request.id}")

    def remove() -> None:
        with records.alone(folders.paths), Changes() as changes:
            records.remove(folders, changes)

    await work.on_disk(remove)
    return CanceledJob(id=request.id, message=f"job {request.id} is removed")


@operation
async def tidy_jobs(request: TidyJobs, work: Work) -> CanceledJob:
    await collecting.tidy(work.host)
    return CanceledJob(id="", message="")
