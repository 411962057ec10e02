"""`gear run`, `gear jobs`, `gear job …` on a host of fakes, without an agent and through one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.terminal import Terminal, Way, terminal

from geard.jobs.output import OUTPUT, Kept
from geard.jobs.records import boot_id


@pytest.fixture(params=["local", "http"])
def gear(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Terminal]:
    way: Way = request.param
    with terminal(tmp_path, way) as found:
        yield found


def eventually(question: Callable[[], object]) -> None:
    """The agent starts a job behind its answer."""
    end = time.monotonic() + 10
    while not question():
        assert time.monotonic() < end
        time.sleep(0.01)


def kept(gear: Terminal, id: str) -> Path:
    return gear.host.paths.base / "jobs" / id[:2] / id


def order(gear: Terminal, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((gear.host.paths.run / "jobs" / id / "order").read_text())
    return found


def end(gear: Terminal, id: str, status: int = 0, said: bytes = b"") -> None:
    """What the job's unit does."""
    output = Kept(str(kept(gear, id)), 0)
    output.add(OUTPUT, said, 1_000_000)
    output.close()
    result = {"Status": status, "Reason": "", "Started": 1.0, "Ended": 2.5, "Output": len(said)}
    (kept(gear, id) / "result").write_text(json.dumps(result))


def test_a_job_is_a_record_an_order_and_a_unit(gear: Terminal) -> None:
    id = gear.ok("run", "-d", "-e", "A=secret", "-e", "B=two\nlines", "geard/sample", "--", "make", "it").strip()
    eventually(lambda: ("start_transient", f"job-{id}.service") in gear.host.systemd.told)
    told = order(gear, id)
    words = " ".join(told["Argv"])
    assert words.endswith("geard/sample make it")
    assert "--uidmap 0:" in words
    assert "--security-opt=no-new-privileges" in words
    assert "--publish" not in words
    assert "secret" not in words
    assert "secret" not in (kept(gear, id) / "job").read_text()
    assert told["Environment"] == {"B": "two\nlines"}
    assert (gear.host.paths.run / "jobs" / id / "env").read_text() == "A=secret\n"
    assert (gear.host.paths.run / "jobs" / id / "order").stat().st_mode & 0o077 == 0
    assert os.readlink(gear.host.paths.base / "slots" / "0") == str(kept(gear, id))


def test_its_end(gear: Terminal) -> None:
    id = gear.ok("run", "-d", "--name", "one", "geard/sample").strip()
    assert id == "one"
    assert "waiting" in gear.ok("jobs")
    end(gear, id, 3, b"hello\nthere")
    assert gear("job", "wait", id).code == 3
    assert gear.ok("job", "log", id) == "hello\nthere\n"
    assert gear.ok("job", "log", "-n", "1", id) == "there\n"
    assert gear.ok("jobs").splitlines()[1:] == []
    assert "ended with 3" in gear.ok("jobs", "-a")
    assert "ended with 3" in gear.ok("job", "show", id)
    (found,) = json.loads(gear.ok("job", "show", "-o", "json", id))
    assert found["Result"]["Status"] == 3
    attached = gear("job", "attach", id)
    assert attached.code == 3
    gear.ok("job", "remove", id)
    assert not kept(gear, id).exists()
    assert not (gear.host.paths.base / "slots" / "0").is_symlink()
    assert "there is no job one here" in gear.ok("job", "remove", id)


def test_one_request_is_one_job(gear: Terminal) -> None:
    again = ("--request-id", "W84-0qbWlQoXPRVUOIVzYg", "run", "-d", "geard/sample")
    assert gear.ok(*again) == gear.ok(*again)
    assert len(gear.ok("jobs", "-q").splitlines()) == 1
    assert [name for name, _ in gear.host.systemd.told].count("start_transient") == 1


def test_a_name_is_one_job(gear: Terminal) -> None:
    gear.ok("run", "-d", "--name", "one", "geard/sample")
    refused = gear("run", "-d", "--name", "one", "geard/sample")
    assert (refused.code, "there is a job one here already" in refused.err) == (125, True)
    assert gear("job", "remove", "one").code == 6, "it has not ended"


def test_what_cannot_be_started_is_told_and_leaves_nothing(gear: Terminal) -> None:
    gear.host.systemd.broken = "gone"
    refused = gear("run", "-d", "--name", "one", "geard/sample")
    if gear.way == "local":
        assert refused.code == 125
        assert "gone" in refused.err
    eventually((kept(gear, "one") / "result").exists)
    gear.host.systemd.broken = ""
    (found,) = json.loads(gear.ok("job", "show", "-o", "json", "one"))
    assert (found["State"], found["Result"]["Reason"]) == ("ended", "not started")
    assert not (gear.host.paths.base / "slots" / "0").is_symlink()


def test_cancel(gear: Terminal) -> None:
    gear.ok("run", "-d", "--name", "one", "geard/sample")
    eventually(lambda: gear.host.systemd.told_about("job-one.service"))
    gear.ok("job", "cancel", "one")
    assert gear.host.systemd.told_about("job-one.service")[-1] == "stop"
    assert json.loads((gear.host.paths.run / "jobs" / "one" / "cancel").read_text())["By"]
    assert gear("job", "cancel", "nosuch").code == 5


def test_a_job_of_before_the_boot_is_lost(gear: Terminal) -> None:
    gear.ok("run", "-d", "--name", "one", "geard/sample")
    record = kept(gear, "one") / "job"
    record.write_text(record.read_text().replace(boot_id(), "another"))
    assert "went down while it ran" in gear.ok("job", "show", "one")
    assert gear("job", "wait", "one").code == 125


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--in", "web", "--engine", "podman", "x"),
        ("--time-limit", "soon", "geard/sample"),
        ("--artifacts-to", "/tmp/x", "geard/sample"),
        ("-e", "", "geard/sample"),
        ("--name", "h1/a", "--host", "h2", "geard/sample"),
        ("--nosuch", "geard/sample"),
        ("-v", "/data", "geard/sample"),
    ],
)
def test_what_cannot_be_asked(gear: Terminal, words: tuple[str, ...]) -> None:
    said = gear("run", "-d", *words)
    assert said.code == 125
    assert said.err
    assert gear.ok("jobs", "-a", "-q") == ""


def test_in_a_gear(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "GREETING=hello", "-v", "/data", "--start")
    gear.ok("run", "-d", "--name", "one", "--in", "web", "-e", "MORE=too", "--", "migrate")
    told = order(gear, "one")
    words = " ".join(told["Argv"])
    assert "target=/data" in words
    assert words.endswith(" migrate")
    assert (gear.host.paths.run / "jobs/one/env").read_text() == "GREETING=hello\nMORE=too\n"
    assert "--uidmap 0:2000000:65536" in words, "the gear's own users, whose files its volumes hold"
    assert "--ip 10.183.0.11 " in words, "and an address of its own"
    assert gear("run", "--in", "nosuch", "true").code == 125


def test_completion_and_help(gear: Terminal) -> None:
    text = gear.ok("help")
    assert "Jobs" in text
    assert "gear run --in web" in gear.ok("help", "run")
    assert "artifacts" in gear.ok("help", "job")
