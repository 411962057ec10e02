"""`gear log`, over a journal of its own, in-process and over scripted series."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from geard.cli import main as terminal
from geard.cli.asking import session
from geard.dispatch.work import Work
from geard.failures import Failure, NotFound, Unavailable
from geard.host import Host
from geard.host.journal import Journal
from geard.identifiers import Place
from geard.logs.operations import follow_log
from geard.logs.requests import FollowLog, LogLine
from geard.request import ROOT_HERE, Follow, Progress, Request, Stream
from geard.transport import Transport
from geard.transport.local import LocalTransport

Line = LogLine | Failure | Callable[[], None]


class Series(Stream[LogLine]):
    def __init__(self, lines: list[Line]) -> None:
        self._lines = iter(lines)

    def __next__(self) -> LogLine:
        for line in self._lines:
            if isinstance(line, LogLine):
                return line
            if isinstance(line, Failure):
                raise line
            line()
        raise StopIteration

    def close(self) -> None:
        pass


class Scripted:
    """Answers each FollowLog with the series of its gear, and remembers what was asked."""

    def __init__(self, **logs: list[Line]) -> None:
        self.logs = logs
        self.asked: list[FollowLog] = []

    def send(self, request: Request[Any], *, follow: Follow | None = None) -> Any:
        assert isinstance(request, FollowLog)
        self.asked.append(request)
        return Series(self.logs[request.id])


def line(second: float, message: str, **more: Any) -> LogLine:
    return LogLine(time=f"2026-11-23T19:43:{second:09.6f}+00:00", id="web", message=message, **more)


@pytest.fixture(autouse=True)
def _fresh_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    session.failures.clear()
    yield
    session.failures.clear()
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def answered_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    def use(transport: Any) -> None:
        def transport_to(place: Place) -> Any:
            return transport

        monkeypatch.setattr(session, "transport", transport_to)

    return use


def test_a_log_is_printed(answered_by: Callable[[Any], None], capsys: pytest.CaptureFixture[str]) -> None:
    script = Scripted(web=[line(1, "one", identifier="nginx", pid=7), line(2, "two", identifier="systemd", pid=1)])
    answered_by(script)
    assert terminal.run(["log", "web"]) == 0
    assert capsys.readouterr().out == (
        "2026-11-23T19:43:01.000+00:00 nginx[7]: one\n2026-11-23T19:43:02.000+00:00 systemd[1]: two\n"
    )
    assert script.asked == [FollowLog(id="web", timeout="0", lines="100")]


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        (["-f"], FollowLog(id="web", follow=True, lines="10")),
        (["-n", "5", "--follow"], FollowLog(id="web", follow=True, lines="5")),
        (["-n", "all"], FollowLog(id="web", timeout="0", lines="all")),
        (["--since", "10m"], FollowLog(id="web", timeout="0", since="10m")),
        (
            ["--since", "2026-11-23 19:43", "--until", "2026-11-23 19:44"],
            FollowLog(id="web", timeout="0", since="2026-11-23T19:43:00+00:00", until="2026-11-23T19:44:00+00:00"),
        ),
        (["--after-cursor", "s=1"], FollowLog(id="web", timeout="0", after="s=1")),
    ],
)
def test_options_become_words(answered_by: Callable[[Any], None], argv: list[str], asked: FollowLog) -> None:
    script = Scripted(web=[])
    answered_by(script)
    assert terminal.run(["logs", "web", *argv]) == 0
    assert script.asked == [asked]


def test_several_are_merged_by_time_and_named(
    answered_by: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answered_by(
        Scripted(
            web=[line(1, "a"), line(4, "d\nd2"), line(5, "e")],
            db=[line(2, "b"), line(3, "c"), line(6, "f")],
            idle=[],
        )
    )
    assert terminal.run(["log", "web", "h2/db", "idle", "-o", "cat"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "web    a",
        "h2/db  b",
        "h2/db  c",
        "web    d",
        "web    d2",
        "web    e",
        "h2/db  f",
    ]


def test_a_failure_is_told_with_its_gear_and_the_others_go_on(
    answered_by: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answered_by(Scripted(web=[line(1, "a")], nix=[NotFound("there is no gear nix")], db=[Unavailable("gone")]))
    assert terminal.run(["log", "web", "nix", "-o", "cat"]) == 5
    told = capsys.readouterr()
    assert told.out == "web  a\n"
    assert "nix: there is no gear nix" in told.err
    session.failures.clear()
    assert terminal.run(["log", "nix"]) == 5
    assert terminal.run(["log", "nix", "db"]) == 1


def test_json_is_a_line_each_with_the_host(
    answered_by: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answered_by(Scripted(web=[line(1, "a\nb", pid=7, cursor="s=1")]))
    assert terminal.run(["log", "h1/web", "-o", "json"]) == 0
    (text,) = capsys.readouterr().out.splitlines()
    found = json.loads(text)
    assert (found["Id"], found["Message"], found["Pid"], found["Cursor"], found["Server"]) == (
        "web",
        "a\nb",
        7,
        "s=1",
        "h1",
    )


def test_lines_of_several_appear_while_others_are_quiet(
    answered_by: Callable[[Any], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()
    answered_by(
        Scripted(
            web=[line(1, "a"), line(2, "b"), lambda: assert_(end.wait(20))],
            db=[lambda: assert_(end.wait(20))],
        )
    )
    shown: list[str] = []

    def echo(text: str) -> None:
        shown.append(text)
        if len(shown) == 2:
            end.set()

    monkeypatch.setattr("geard.logs.commands.click.echo", echo)
    assert terminal.run(["log", "-f", "web", "db", "-o", "cat"]) == 0
    assert shown == ["web  a", "web  b"]


def assert_(truth: bool) -> None:
    assert truth


def test_ctrl_c_ends_following_well(answered_by: Callable[[Any], None]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    answered_by(Scripted(web=[line(1, "a"), interrupt]))
    assert terminal.run(["log", "-f", "web"]) == 0
    answered_by(Scripted(web=[line(1, "a"), interrupt]))
    assert terminal.run(["log", "web"]) == 130


def test_one_cursor_is_not_a_place_in_two_logs() -> None:
    assert terminal.run(["log", "web", "db", "--after-cursor", "s=1"]) == 64


@pytest.mark.parametrize("argv", [["--since", "soon"], ["--until", "25:00"]])
def test_times_are_checked_before_anybody_is_asked(argv: list[str]) -> None:
    assert terminal.run(["log", "h1/web", *argv]) == 64


# --- in-process, with an empty journal: the operation itself ---------------------------------------


class OnlyLogs:
    """A performer with a host that has a disk and a journal."""

    def __init__(self, base: Path, journal: Path) -> None:
        host = SimpleNamespace(paths=SimpleNamespace(base=base), journal=Journal(journal))
        self._work = Work(cast(Host, host), "id", ROOT_HERE)

    async def answer(self, request: Request[Any], id: str, follow: Callable[[Progress], None] | None) -> Any:
        assert isinstance(request, FollowLog)
        return follow_log(request, self._work)


@pytest.fixture
def here(tmp_path: Path) -> Transport:
    pytest.importorskip("systemd.journal", reason="python3-systemd is not installed")
    journal = tmp_path / "journal"
    journal.mkdir()
    unit = tmp_path / "units" / "we" / "ctr-web.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    return LocalTransport(lambda: OnlyLogs(tmp_path, journal))


def test_a_gear_that_is_not_there_has_no_log(
    here: Transport, answered_by: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answered_by(here)
    assert terminal.run(["log", "nix"]) == 5
    assert "there is no gear nix" in capsys.readouterr().err


def test_a_gear_that_said_nothing_has_an_empty_log(
    here: Transport, answered_by: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answered_by(here)
    assert terminal.run(["log", "web"]) == 0
    assert capsys.readouterr() == ("", "")


def test_following_ends_by_itself_when_told_to(here: Transport) -> None:
    started = time.monotonic()
    assert list(here.send(FollowLog(id="web", timeout="0.2"))) == []
    assert 0.15 < time.monotonic() - started < 5


def test_a_follow_with_an_end_in_the_past_ends_at_once(here: Transport) -> None:
    assert list(here.send(FollowLog(id="web", follow=True, until="10m"))) == []


def test_a_cursor_that_is_none_is_refused(here: Transport) -> None:
    with pytest.raises(Failure, match="cursor"):
        list(here.send(FollowLog(id="web", timeout="0", after="bogus")))
