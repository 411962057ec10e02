"""What holds for every test: nothing is left running, and where CI says so nothing is skipped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest
from hypothesis import settings
from tests.fakes.host import FakeHost, make_host
from tests.fakes.terminal import Terminal, Way, terminal

from geard.daemon import server
from geard.dispatch.operation import Operation, all_operations
from geard.request import Request

settings.register_profile("geard", deadline=None, max_examples=60, print_blob=True)
settings.register_profile("ci", settings.get_profile("geard"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") or os.environ.get("GEARD_CI") else "geard")

# Started in the background, or by nohup, these are ignored here and in every child; no test of signals means that.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# Pools of threads that a process keeps: they end with it.
LASTING = ("disk", "journal page", "ThreadPoolExecutor", "asyncio")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew instead of comparing")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With GEARD_NO_SKIP=1 a test that is skipped has failed: in CI everything it needs is there."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("GEARD_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which GEARD_NO_SKIP=1 forbids: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file that is skipped."""
    report = yield
    if report.skipped and os.environ.get("GEARD_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, which GEARD_NO_SKIP=1 forbids: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """For `scripts/test`, which has several runs to sum up: one line, and one for each that failed."""
    file = os.environ.get("GEARD_TEST_REPORT")
    if not file:
        return
    stats = terminalreporter.stats
    counts = {kind: len(stats.get(kind, ())) for kind in ("passed", "failed", "error", "skipped", "xfailed")}
    words = [f"{count} {kind}" for kind, count in counts.items() if count] or ["nothing was run"]
    bad = [f"  {kind.upper()} {report.nodeid}" for kind in ("failed", "error") for report in stats.get(kind, ())]
    Path(file).write_text("\n".join([", ".join(words), *bad]) + "\n", encoding="utf-8")


@pytest.fixture(autouse=True)
def nothing_left_running() -> Generator[None]:
    """No child, no thread but the pools'. (A pending task of a loop that is closed is a warning, so a failure.)"""
    before = set(threading.enumerate())
    children = _children()
    yield
    end = time.monotonic() + 2
    while left := [*(_threads() - before), *(_children() - children)]:
        assert time.monotonic() < end, f"left running: {left}"
        time.sleep(0.005)


def _threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if not t.daemon and not t.name.startswith(LASTING)}


def _children() -> set[str]:
    """Children of this process, but for multiprocessing's own helper."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= set((task / "children").read_text().split())
        except OSError:  # the thread has ended
            continue
    return {pid for pid in found if not _is_helper(pid)}


def _is_helper(pid: str) -> bool:
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def _of_rooms() -> dict[type[Request[Any]], Operation]:
    return {kind: found for kind, found in all_operations().items() if kind.__module__.startswith("geard.")}


@pytest.fixture(autouse=True)
def rooms_alone() -> Generator[None]:
    """Some tests have requests of their own in the one registry; other tests' agents do not know them."""
    with mock.patch.object(server, "all_operations", _of_rooms):
        yield


@pytest.fixture
def fake_host(tmp_path: Path) -> FakeHost:
    return make_host(tmp_path / "host")


@pytest.fixture(params=["local", "http"])
def gear(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Terminal]:
    """`gear` at a terminal: without an agent, and through one."""
    tmp_path.chmod(0o755)
    with terminal(tmp_path, cast("Way", request.param)) as found:
        yield found
