"""How `gear` behaves whatever the verb: help, suggestions, exit codes, several machines."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.fakes.host import make_host
from tests.fakes.terminal import Terminal, agent

from geard.cli.exits import exit_code
from geard.cli.output import printable, table
from geard.failures import KINDS, Conflict, Denied, Failure, Full, Invalid, NotFound, TimedOut, TooMany
from geard.identifiers import Place
from geard.transport import http
from geard.transport.http import HttpTransport


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"]])
def test_help_has_the_verbs_in_groups(gear: Terminal, words: list[str]) -> None:
    text = gear.ok(*words)
    assert text.startswith("Usage: gear")
    for group in ("Gears:", "Look:", "Share:", "Images:", "This host:", "Shell:"):
        assert f"\n{group}\n" in text
    for verb in ("install", "start", "stop", "restart", "delete", "status", "list-units", "env", "set-env", "log"):
        assert f"\n  {verb} " in text
    assert "\n  boot" not in text
    assert "\n  complete " not in text


@pytest.mark.parametrize("verb", ["install", "start", "status", "set-env", "ports", "log", "help"])
def test_help_of_a_verb(gear: Terminal, verb: str) -> None:
    text = gear.ok("help", verb)
    assert text.startswith(f"Usage: gear {verb}")
    assert gear.ok(verb, "--help") == text


@pytest.mark.parametrize("verb", ["host", "token", "callback", "secret"])
def test_help_of_a_verb_that_has_verbs_cuts_no_sentence_off(gear: Terminal, verb: str) -> None:
    _, found, commands = gear.ok("help", verb).partition("Commands:")
    assert found and "..." not in commands


def test_help_of_install_has_the_options_of_other_rooms(gear: Terminal) -> None:
    text = gear.ok("help", "install")
    assert "--ports" in text
    assert "--env-file" in text
    assert "--env-id" in text


@pytest.mark.parametrize(
    ("given", "meant"),
    [("instal", "install"), ("stat", "status"), ("sotp", "stop"), ("listt", "list"), ("set_env", "set-env")],
)
def test_a_verb_that_is_not_there_is_answered_with_the_nearest(gear: Terminal, given: str, meant: str) -> None:
    said = gear(given, "web")
    assert (said.code, said.out) == (64, "")
    assert f"there is no 'gear {given}'; did you mean '{meant}'?" in said.err


def test_a_verb_that_is_like_no_other(gear: Terminal) -> None:
    said = gear("xyzzy")
    assert said.code == 64
    assert "there is no 'gear xyzzy'" in said.err
    assert "did you mean" not in said.err


@pytest.mark.parametrize("words", [["status"], ["status", "--nonsense", "web"], ["install", "--memory"]])
def test_usage_errors_are_64(gear: Terminal, words: list[str]) -> None:
    assert gear(*words).code == 64


def test_version(gear: Terminal) -> None:
    from geard import __version__

    assert gear.ok("version") == gear.ok("--version") == f"gear {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(gear: Terminal, shell: str) -> None:
    assert "_GEAR_COMPLETE" in gear.ok("completion", shell)


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([], 0),
        ([Invalid("")], 64),
        ([Denied("")], 4),
        ([NotFound("")], 5),
        ([NotFound(""), NotFound("")], 5),
        ([NotFound(""), Denied("")], 1),
        ([Conflict("")], 1),
        ([TooMany(""), Full("")], 7),
        ([TimedOut("")], 8),
        ([Failure("")], 1),
    ],
)
def test_exit_codes(failures: list[Failure], code: int) -> None:
    assert exit_code(failures) == code


def test_every_kind_of_failure_has_an_exit_code() -> None:
    assert all(exit_code([kind("")]) > 0 for kind in KINDS.values())


def test_a_table_lines_up_and_sends_nothing_to_the_terminal_but_text() -> None:
    text = table(("NAME", "NOTE"), [("a", "\x1b[2J"), ("longer", "")])
    assert text.splitlines() == ["NAME    NOTE", "a       \\x1b[2J", "longer"]
    assert printable("a\nb\x9b\u202eü") == "a\\nb\\x9b\\u202eü"


def test_where_nobody_answers_it_says_what_to_look_at(gear: Terminal) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        said = gear("status", f"127.0.0.1:{port}/web")
    assert said.code == 1
    assert f"no agent answers at 127.0.0.1:{port}" in said.err
    assert "systemctl status geard.socket" in said.err


def test_another_machine_is_reached_through_ssh(gear: Terminal) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.2", 0))
        port = nobody.getsockname()[1]
        said = gear("status", f"127.0.0.2:{port}/web")
    assert said.code == 1
    assert "ssh -N -L 43274:/run/geard/geard.sock 127.0.0.2" in said.err


def test_setup_is_for_root_on_the_machine(gear: Terminal) -> None:
    if gear.way == "http":
        said = gear("setup")
        assert said.code == 4
        assert "sudo gear" in said.err


def test_what_answers_and_is_no_agent(gear: Terminal) -> None:
    said = gear("status", "localhost:1/web")
    assert said.code == 1
    assert "Traceback" not in said.err


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[list[str]]:
    """Agents of two other machines, reached as h1 and h2."""
    made: list[HttpTransport] = []
    with (
        agent(make_host(tmp_path / "h1"), tmp_path / "h1") as one,
        agent(make_host(tmp_path / "h2"), tmp_path / "h2") as two,
    ):
        sockets = {"h1": one, "h2": two}
        known = HttpTransport

        def reach(at: Place | str, request_id: str | None = None) -> HttpTransport:
            where = sockets.get(at.host, at) if isinstance(at, Place) else at
            made.append(known(where, request_id))
            return made[-1]

        monkeypatch.setattr(http, "HttpTransport", reach)
        yield ["h1", "h2"]
        for transport in made:
            transport.close()


def test_several_machines_are_asked_side_by_side_and_told_apart(gear: Terminal, machines: list[str]) -> None:
    said = gear("install", "geard/sample", "h1/web", "h2/web", "local-web", "--start")
    assert said.code == 0, said.err
    for target in ("h1/web", "h2/web", "local-web"):
        assert any(line.startswith(f"{target}: ") for line in said.lines)
    rows = [line.split()[:2] for line in gear.ok("list", "-a", "h1", "h2", "local").splitlines()[1:]]
    assert rows == [["local-web", "active"], ["web", "h1"], ["web", "h2"]]
    assert gear.ok("list", "-q", "h1", "h2") == "h1/web\nh2/web\n"
    found = json.loads(gear.ok("status", "h1/web", "h2/web", "-o", "json"))
    assert [each["Server"] for each in found] == ["h1", "h2"]


def test_one_machine_that_is_away_keeps_nobody_else_waiting(gear: Terminal, machines: list[str]) -> None:
    gear.ok("install", "geard/sample", "h1/web")
    said = gear("status", "h1/web", "127.0.0.1:1/web")
    assert said.code == 1
    assert "h1/web" in said.out
    assert "Error: 127.0.0.1:1/web: no agent answers" in said.err


def test_a_request_id_serves_several_machines(gear: Terminal, machines: list[str]) -> None:
    words = ("--request-id", "0123456789abcdef" * 2, "install", "geard/sample", "h1/web", "h2/web", "h1/web-2")
    first = gear(*words)
    assert first.code == 0, first.err
    again = gear(*words)
    assert again.code == 0, again.err
