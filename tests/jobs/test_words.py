"""What is asked of jobs, what is shown of them, which are kept: all of it pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes.host import make_host

from geard.containers.requests import Volume, VolumeConfig, VolumeMount
from geard.failures import Denied, Invalid
from geard.jobs.collecting import expired
from geard.jobs.operations import id_of
from geard.jobs.records import JobRecord
from geard.jobs.requests import Job, JobResult, JobWish
from geard.jobs.settings import JobSettings
from geard.jobs.showing import describe, lasted, state
from geard.jobs.spans import parse_span
from geard.jobs.starting import properties
from geard.jobs.usage import groups, usage
from geard.jobs.wishes import check_job
from geard.request import ROOT_HERE, SCOPES, Asker

OPERATOR = Asker("somebody", SCOPES["operate"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("10m", 600), ("1h30m", 5_400), ("1.5h", 5_400), ("2d", 172_800), ("0", 0)]
)
def test_spans(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "soon", "10x", "-1", "1h later", "1e9999"])
def test_no_spans(text: str) -> None:
    with pytest.raises(Invalid):
        parse_span(text)


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"image": "a/b", "gear": "web"},
        {"image": "-rm"},
        {"image": "a/b", "id": "../x"},
        {"image": "a/b", "id": "a\nb"},
        {"image": "a/b", "environment": {"A B": "c"}},
        {"image": "a/b", "environment": {"LD_PRELOAD": "two\nlines"}},
        {"image": "a/b", "user": "a\0b"},
        {"image": "a/b", "working_dir": "relative"},
        {"image": "a/b", "time_limit": float("nan")},
        {"image": "a/b", "time_limit": -1.0},
        {"image": "a/b", "artifacts": "/"},
        {"image": "a/b", "artifacts": "/a/../b"},
        {"image": "a/b", "rows": 0},
        {"image": "a/b", "command": ("\udcff",)},
        {"image": "a/b", "volume_config": VolumeConfig(volumes=(Volume(path="/data"),))},
        {"gear": "web", "simple": True},
    ],
)
def test_what_cannot_be(tmp_path: Path, words: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        check_job(JobWish(**words), ROOT_HERE, make_host(tmp_path))


def test_who_may_mount(tmp_path: Path) -> None:
    host = make_host(tmp_path)
    wish = JobWish(image="a/b", volume_config=VolumeConfig(volume_mounts=(VolumeMount(path="/", host_path="/x"),)))
    check_job(wish, ROOT_HERE, host)
    with pytest.raises(Denied):
        check_job(wish, OPERATOR, host)
    with pytest.raises(Denied):
        check_job(JobWish(image="a/b", simple=True), OPERATOR, host)


def test_which_are_kept() -> None:
    settings = JobSettings(keep_hours=1, keep_jobs=2)
    ended = {"old": 100.0, "a": 5_000.0, "b": 5_001.0, "c": 5_002.0}
    assert sorted(expired(ended, settings, 5_010.0)) == ["a", "old"]
    assert expired({}, settings, 0) == []


def test_one_request_is_one_job() -> None:
    assert id_of("W84-0qbWlQoXPRVUOIVzYg") == id_of("W84-0qbWlQoXPRVUOIVzYg") != id_of("X84-0qbWlQoXPRVUOIVzYg")
    assert len(id_of("x")) == 12


def test_the_unit_has_its_limits() -> None:
    record = JobRecord(id="a.b-1", request="r", created="2026-11-28T00:00:00+00:00", time_limit=60, stop_timeout=5)
    found = {
        name: value for name, _, value in properties(record, Path("/var/lib/containers"), "container-job.slice")
    }
    assert found["Slice"] == "container-job.slice"
    assert found["ExecStart"] == [["/usr/lib/geard/gear-job", ["/usr/lib/geard/gear-job", "run", "a.b-1"], False]]
    assert found["RuntimeMaxUSec"] > 65_000_000
    assert found["TimeoutStopUSec"] > 5_000_000
    assert found["CollectMode"] == "inactive-or-failed"


def test_shown() -> None:
    result = JobResult(
        status=137, reason="memory", message="too much", started=10, ended=75.5, output=9, output_lost=4
    )
    job = Job(id="x1", unit="job-x1.service", state="ended", image="a", created="c", by="root", result=result)
    assert state(job) == "ended with 137: too much"
    assert lasted(job) == "65.5 s"
    assert lasted(msgspec.structs.replace(job, result=JobResult(started=75.5, ended=10))) == "", (
        "the clock was set back"
    )
    text = describe(job)
    assert "Output:     9 bytes; 4 of them" in text
    assert state(Job(id="x1", unit="u", state="running")) == "running"


def test_usage_of_both_versions(tmp_path: Path) -> None:
    two = groups("0::/container.slice/container-job.slice/job-x.service/supervisor\n")
    assert two == {"": "/container.slice/container-job.slice/job-x.service"}
    folder = tmp_path / two[""].lstrip("/")
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (folder / "memory.peak").write_text("4096\n")
    (folder / "io.stat").write_text("8:0 rbytes=10 wbytes=20 rios=1\n9:0 rbytes=1 wbytes=2\n")
    assert usage("", str(tmp_path), two) == {"CpuSeconds": 1.5, "PeakMemory": 4096, "Read": 11, "Written": 22}
    one = groups("4:memory:/s.slice/job-x.service\n3:cpu,cpuacct:/s.slice/job-x.service\n1:name=systemd:/x\n")
    assert one == dict.fromkeys(("memory", "cpu", "cpuacct"), "/s.slice/job-x.service")
    for name, file, text in (("memory", "memory.max_usage_in_bytes", "7\n"), ("cpuacct", "cpuacct.usage", "9\n")):
        (tmp_path / name / "s.slice/job-x.service").mkdir(parents=True)
        (tmp_path / name / "s.slice/job-x.service" / file).write_text(text)
    assert usage("", str(tmp_path), one) == {"CpuSeconds": 9e-9, "PeakMemory": 7}
