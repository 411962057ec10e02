"""What goes by rule, and what a killed process left."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fakes.host import FakeHost, make_host

from geard.containers import slots
from geard.host.process import Finished
from geard.host.storage import Changes
from geard.jobs import collecting, records
from geard.jobs.collecting import tidy
from geard.jobs.records import JobFolders, JobRecord

LONG_AGO = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    async def run(argv: Sequence[str], *, check: bool) -> Finished:
        assert list(argv[-2:]) == ["--time=0", f"job-{argv[-1].removeprefix('job-')}"]
        return Finished(0, "", "")

    monkeypatch.setattr(collecting, "run", run)
    return make_host(tmp_path)


def make(host: FakeHost, id: str, created: str = LONG_AGO, boot: str = "") -> JobFolders:
    folders = JobFolders.of(host.paths, id)
    with Changes() as changes:
        assert records.claim(folders, changes, "r") is None
        slot = slots.reserve(host.paths, changes, folders.kept)
        boot = boot or records.boot_id()
        records.write(folders, changes, JobRecord(id=id, request="r", created=created, boot=boot, slot=slot))
    return folders


def end(folders: JobFolders, ago: float) -> None:
    folders.result.write_text(json.dumps({"Status": 0}))
    at = time.time() - ago
    os.utime(folders.result, (at, at))


def reason(folders: JobFolders) -> str:
    found = records.result(folders)
    return found.reason if found is not None else "none"


async def test_what_ended_long_ago_goes(host: FakeHost) -> None:
    old, young = make(host, "old"), make(host, "young")
    end(old, 8 * 86_400)
    end(young, 60)
    (old.kept / "artifacts").mkdir()
    os.symlink("/etc", old.kept / "artifacts" / "evil")
    await tidy(host)
    assert not old.kept.exists()
    assert young.kept.exists()
    assert Path("/etc/passwd").exists()
    assert not list((host.paths.base / "slots").glob("[0-9]*")), "nobody's by now"


async def test_only_so_many_are_kept(host: FakeHost) -> None:
    (host.paths.settings / "geard.toml").write_text("[jobs]\nkeep-jobs = 1\n")
    one, other = make(host, "one"), make(host, "other")
    end(one, 120)
    end(other, 60)
    await tidy(host)
    assert (one.kept.exists(), other.kept.exists()) == (False, True)


async def test_of_whom_nobody_says_how_they_ended(host: FakeHost) -> None:
    cut, lost = make(host, "cut"), make(host, "lost", boot="another")
    ahead = make(host, "ahead", created="2999-01-01T00:00:00+00:00")
    running, new = make(host, "running"), make(host, "new", created=datetime.now(UTC).isoformat())
    await host.systemd.start_transient("job-running.service", [])
    await tidy(host)
    assert [reason(each) for each in (cut, lost, running, new)] == ["cut", "lost", "none", "none"]
    assert reason(ahead) == "cut", "the clock was set back since"
    held = {Path(os.readlink(link)).name for link in (host.paths.base / "slots").glob("[0-9]*")}
    assert held == {"running", "new"}


async def test_what_a_killed_asker_left(host: FakeHost) -> None:
    half = JobFolders.of(host.paths, "half")
    half.kept.mkdir(parents=True)
    at = time.time() - 700
    os.utime(half.kept, (at, at))
    await tidy(host)
    assert not half.kept.exists()
