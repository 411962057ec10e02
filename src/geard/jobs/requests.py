"""The words of jobs."""

from __future__ import annotations

from geard.containers.requests import Limits, VolumeConfig
from geard.exchange import Session
from geard.jobs.showing import describe
from geard.request import Answer, Piece, Request, Route, Stream
from geard.words import Word


class JobWish(Word):
    """What is asked of a job. Where nothing is said, the machine's settings hold."""

    id: str = ""
    """its name; one is given where there is none"""
    image: str = ""
    gear: str = ""
    """run it with this gear's image, environment, secrets, volumes and links"""
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    engine: str = ""
    simple: bool = False
    """share the host's users instead of having a range of its own"""
    stdin: bool = False
    """it reads what who attaches to it says; else nothing"""
    tty: bool = False
    environment: dict[str, str] = {}
    environment_id: str = ""
    """variables of this environment too, as they are now"""
    user: str = ""
    working_dir: str = ""
    volume_config: VolumeConfig = VolumeConfig()
    limits: Limits = Limits()
    stop_timeout: int | None = None
    """seconds from TERM to KILL"""
    time_limit: float | None = None
    """seconds; 0: none"""
    artifacts: str = ""
    """a folder in it whose files are handed back when it has ended"""
    rows: int = 24
    columns: int = 80


class StartedJob(Answer):
    """A job is on record, and is being started."""

    example = {"Id": "k3v7q2m5xn4a", "Unit": "job-k3v7q2m5xn4a.service"}

    id: str
    unit: str

    def text(self) -> str:
        return self.id


class RunJob(JobWish, Request[StartedJob]):
    """Run a container once, as a transient unit of systemd's; its output and result are kept when it has ended."""

    route = Route("POST", "/jobs")
    example = {
        "Image": "docker.io/library/postgres:17",
        "Command": ["pg_dump", "-h", "10.0.0.7", "shop"],
        "Environment": {"PGUSER": "shop"},
        "TimeLimit": 600,
        "Artifacts": "/out",
    }

    timer: str = ""
    """which timer it belongs to"""
    report: bool = False
    """the request's report, and so a callback, tells of the job's end; else of its start"""

    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.id, self.gear, self.environment_id) if name)

    def told(self) -> str:
        return self.id or self.image

    def told_program(self) -> str:
        """What is shown of the command: its arguments may be secret."""
        return (self.entrypoint or self.command or ("",))[0][:200]


class StartJob(Request[StartedJob]):
    """What follows the answer; done again, it does nothing more."""

    id: str


class AwaitJob(Request[StartedJob]):
    """What follows then, for who wants to be told of the end."""

    id: str


class JobResult(Word):
    """How it ended, and what it used."""

    status: int = 0
    """the program's; 125 where the engine could not start it, 128 and the signal's number where one ended it"""
    reason: str = ""
    """empty: by itself; canceled, time limit, memory, artifacts, stopped, not started, cut, lost"""
    message: str = ""
    begun: float = 0
    started: float = 0
    ended: float = 0
    """seconds since 1970"""
    output: int = 0
    """bytes that it wrote"""
    output_lost: int = 0
    """… of them not kept"""
    cpu_seconds: float = 0
    peak_memory: int = 0
    """bytes; of its unit, so with the engine's own share"""
    read: int = 0
    written: int = 0
    """bytes from and to disks"""
    image_id: str = ""


class Job(Answer):
    """One job in full."""

    example = {
        "Id": "k3v7q2m5xn4a",
        "Unit": "job-k3v7q2m5xn4a.service",
        "State": "ended",
        "Image": "docker.io/library/postgres:17",
        "Created": "2026-11-28T03:00:00+00:00",
        "By": "uid 0 (root)",
        "Result": {"Status": 0, "Started": 1795834801.2, "Ended": 1795834833.9, "CpuSeconds": 4.1},
    }

    id: str
    unit: str
    state: str
    """waiting, pulling, starting, running, ended"""
    image: str = ""
    gear: str = ""
    timer: str = ""
    program: str = ""
    """the command's first word; the rest may be secret"""
    engine: str = ""
    created: str = ""
    """RFC 3339"""
    by: str = ""
    request: str = ""
    variables: tuple[str, ...] = ()
    """names alone"""
    user: str = ""
    limits: Limits = Limits()
    time_limit: float = 0
    artifacts: str = ""
    simple: bool = False
    stdin: bool = False
    tty: bool = False
    result: JobResult | None = None

    def text(self) -> str:
        return describe(self)


class JobList(Answer):
    """The newest first."""

    example = {"Jobs": [dict(Job.example)]}

    jobs: tuple[Job, ...]


class ListJobs(Request[JobList]):
    """The jobs of a machine: those that have not ended, or `all` whose results are kept."""

    route = Route("GET", "/jobs", scope="read", text=False, reach="shown")

    all: bool = False
    timer: str = ""
    """of this timer alone"""


class GetJob(Request[Job]):
    route = Route("GET", "/job/{id}", scope="read")

    id: str


class JobOutput(Answer):
    """A line, or a piece of a long one."""

    example = {"Time": "2026-11-28T03:00:01.204000+00:00", "Stream": "stdout", "Text": "dumping shop"}

    time: str
    """RFC 3339"""
    stream: str
    """stdout, stderr, or geard where something is told of what is not kept"""
    content: str

    def text(self) -> str:
        return self.content


class FollowJobLog(Request[Stream[JobOutput]]):
    """What a job wrote, as far as it is kept; with `follow`, to its end."""

    route = Route("GET", "/job/{id}/log", scope="read")

    id: str
    follow: bool = False
    tail: int | None = None
    """only so many lines of the end"""


class AttachToJob(Request[Session]):
    """What a job writes, from the beginning or the `place` a client has seen, and input for it. Who leaves ends
    nothing; signals that end programs are passed on, and make sure of it after the job's stop timeout.
    """

    route = Route("POST", "/job/{id}/attach")
    example = {"Id": "k3v7q2m5xn4a", "Stdin": True}

    id: str
    stdin: bool = False
    drive: bool = False
    """the job waits for who reads slowly"""
    recent: bool = False
    """from now on, not from the beginning"""
    rows: int = 0
    columns: int = 0


class GetArtifacts(Request[Stream[Piece]]):
    """The files that a job hands back, when it has ended: a tar archive."""

    route = Route("GET", "/job/{id}/artifacts")

    id: str


class CanceledJob(Answer):
    example = {"Id": "k3v7q2m5xn4a", "Message": "job k3v7q2m5xn4a is being ended"}

    id: str
    message: str

    def text(self) -> str:
        return self.message


class CancelJob(Request[CanceledJob]):
    """End a job: TERM, then KILL after its stop timeout. One that has ended is left as it is."""

    route = Route("PUT", "/job/{id}/canceled")

    id: str


class StopJobUnit(Request[CanceledJob]):
    """What follows the answer."""

    id: str


class RemoveJob(Request[CanceledJob]):
    """Forget a job that has ended: its output, result and files. One that is not there is fine."""

    route = Route("DELETE", "/job/{id}")

    id: str


class TidyJobs(Request[CanceledJob]):
    """Asked by the agent and by the machine's own timers: what is kept by rule stays, the rest goes."""
