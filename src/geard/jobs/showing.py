"""A job in words. Pure."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from geard.containers.limits import shown
from geard.containers.sizes import show_size

if TYPE_CHECKING:
    from geard.jobs.requests import Job, JobResult

ENDED = "ended"


def describe(job: Job) -> str:
    rows = [("Job", f"{job.id}, {job.unit}"), ("State", state(job))]
    rows += [("Image", job.image)] if job.image else []
    rows += [("Gear", f"{job.gear}: its image, environment, secrets, volumes and links")] if job.gear else []
    rows += [("Timer", job.timer)] if job.timer else []
    rows += [("Program", job.program)] if job.program else []
    rows.append(("Asked", f"{job.created} by {job.by}"))
    if job.variables:
        rows.append(("Variables", ", ".join(job.variables)))
    limits = ", ".join(f"{name} {value}" for name, value in shown(job.limits).items() if value)
    if job.time_limit:
        limits += f"{', ' if limits else ''}time {span(job.time_limit)}"
    rows += [("Limits", limits)] if limits else []
    if job.result is not None and job.result.started:
        rows.append(("Started", moment(job.result.started)))
    if job.result is not None and job.state == ENDED:
        rows += _result(job.result)
    if job.artifacts:
        rows.append(("Artifacts", f"{job.artifacts}; gear job artifacts {job.id} hands them out"))
    return "\n".join(f"{label + ':':<11} {text}" for label, text in rows)


def _result(result: JobResult) -> list[tuple[str, str]]:
    rows = [("Ended", moment(result.ended))] if result.ended else []
    used = [f"{result.cpu_seconds:.2f} s of processor time"] if result.cpu_seconds else []
    used += [f"{show_size(result.peak_memory)} of memory at most"] if result.peak_memory else []
    if result.read or result.written:
        used.append(f"{show_size(result.read)} read, {show_size(result.written)} written")
    rows += [("Used", ", ".join(used))] if used else []
    lost = f"; {result.output_lost} of them, from the middle, are not kept" if result.output_lost else ""
    rows.append(("Output", f"{result.output} bytes{lost}"))
    return rows


def state(job: Job) -> str:
    result = job.result
    if job.state != ENDED or result is None:
        return job.state
    how = f"ended with {result.status}"
    return f"{how}: {result.message or result.reason}" if result.reason else how


def lasted(job: Job, now: float | None = None) -> str:
    result = job.result
    if result is None or not result.started:
        return ""
    seconds = (result.ended or (time.time() if now is None else now)) - result.started
    return span(seconds) if seconds >= 0 else ""  # the clock was set back meanwhile: nobody knows


def span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
