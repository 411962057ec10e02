"""What an admin settles about jobs."""

from __future__ import annotations

from typing import ClassVar

from geard.containers.sizes import parse_size
from geard.failures import Invalid
from geard.settings import Section


class JobSettings(Section):
    key: ClassVar[str] = "jobs"
    keep_hours: float = 168
    """output, result and files of a job that has ended, for so long"""
    keep_jobs: int = 1_000
    """… of so many at most; the oldest go first"""
    keep_output: str = "16m"
    """of what one job writes: its beginning and its end"""
    artifacts: str = "1g"
    """the most that one job may hand back"""
    time_limit: float = 0
    """seconds, where nothing is said; 0: none"""
    memory: str = "512m"
    cpus: float = 0
    pids: int = 1_024

    def check(self) -> None:
        for size in (self.keep_output, self.artifacts, self.memory):
            parse_size(size)
        if min(self.keep_hours, self.keep_jobs, self.time_limit, self.cpus, self.pids) < 0:
            raise Invalid("keep-hours, keep-jobs, time-limit, cpus and pids cannot be negative")
