"""`gear token` and `gear host` at the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.terminal import Terminal, Way, terminal

from geard.access.commands import parse_seconds
from geard.failures import Invalid
from geard.transport import known_hosts
from geard.trust.bearers import parse_bearer


@pytest.fixture(params=["local", "http"])
def gear(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    way: Way = request.param
    monkeypatch.setattr(known_hosts, "folder", lambda: tmp_path / "hosts")
    with terminal(tmp_path, way) as found:
        yield found


def test_a_token_is_printed_once_and_alone_on_stdout(gear: Terminal) -> None:
    said = gear("token", "create", "ci", "--scope", "operate", "--only", "web-*,db-?", "--expires", "12h")
    bearer = parse_bearer(said.out.strip())
    assert said.code == 0
    assert bearer is not None
    assert (bearer.name, len(said.lines)) == ("ci", 1)
    assert said.err.startswith("Token ci holds scope operate until 20")
    (row,) = json.loads(gear.ok("token", "list", "-o", "json"))
    assert (row["Name"], row["Scope"], row["Only"]) == ("ci", "operate", ["web-*", "db-?"])
    assert bearer.secret not in gear.ok("token", "list", "-o", "yaml")
    assert gear.ok("token", "list", "-o", "name") == "ci\n"
    assert gear.ok("token", "list").splitlines()[0].split() == "NAME SERVER SCOPE ONLY CREATED EXPIRES BY".split()


def test_another_token_of_that_name_is_not_made_by_mistake(gear: Terminal) -> None:
    gear.ok("token", "create", "ci")
    said = gear("token", "create", "ci")
    assert (said.code, said.out) == (1, "")
    assert "--replace" in said.err
    assert gear.ok("token", "create", "ci", "--replace", "--expires", "never")
    assert gear.ok("token", "revoke", "ci") == "Revoked token ci\n"
    assert gear.ok("token", "revoke", "ci") == "There was no token ci\n"


@pytest.mark.parametrize(
    "words",
    [
        ("token", "create", "../x"),
        ("token", "create", "-"),
        ("token", "create", "ci", "--only", "a b"),
        ("token", "create", "ci", "--only", "a/../b"),
        ("token", "create", "ci", "--expires", "soon"),
        ("token", "create", "ci", "--expires", "0d"),
        ("token", "create", "ci", "--expires", "9999w"),
        ("token", "create", "ci", "--scope", "join"),
        ("token", "revoke", "../../authority.pem"),
        ("host", "invite", "../x"),
        ("host", "revoke", "../x"),
        ("host", "add", "localhost", "192.0.2.7"),
        ("host", "add", "127.0.0.1", "192.0.2.7"),
        ("host", "add", "h1/x", "192.0.2.7"),
        ("host", "add", "h1:1", "192.0.2.7"),
        ("host", "add", "..", "192.0.2.7"),
        ("host", "add", "h1", "192.0.2.7/x"),
        ("host", "remove", "../x"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(gear: Terminal, words: tuple[str, ...]) -> None:
    before = gear.tree()
    assert gear(*words, stdin="geard-join.h2." + "A" * 43 + "." + "B" * 43 + "\n").code == 64
    assert gear.tree() == before


def test_what_is_no_invitation_goes_nowhere(gear: Terminal) -> None:
    for text in ("", "x", "geard-token.ci." + "A" * 43):
        said = gear("host", "add", "h1", "192.0.2.7", stdin=text + "\n")
        assert (said.code, "that is no invitation" in said.err) == (64, True)


def test_nobody_is_invited_to_an_agent_that_listens_to_nobody(gear: Terminal) -> None:
    said = gear("host", "invite", "h2")
    assert (said.code, said.out) == (6, "")
    assert "[agent] listen" in said.err
    assert "systemctl enable --now geard" in said.err


def test_an_invitation_is_a_command_to_be_typed(gear: Terminal) -> None:
    (gear.host.paths.settings / "geard.toml").write_text('[agent]\nlisten = ["192.0.2.7", "[2001:db8::7]:443"]\n')
    said = gear("host", "invite", "h2", "--scope", "read")
    echo, text, pipe, *command, address = said.out.split()
    bearer = parse_bearer(text)
    assert (echo, pipe, command[:3], address) == ("echo", "|", ["gear", "host", "add"], "192.0.2.7:43273")
    assert bearer is not None
    assert (bearer.name, len(bearer.fingerprint)) == ("h2", 43)
    assert "[2001:db8::7]:443" in said.err
    assert "nobody answers at 192.0.2.7:43273 yet: systemctl enable --now geard" in said.err
    assert [(row["Kind"], row["Name"]) for row in json.loads(gear.ok("host", "guests", "-o", "json"))] == [
        ("invitation", "h2")
    ]
    assert "invited" in gear.ok("host", "guests")
    assert gear.ok("host", "revoke", "h2") == "Revoked host h2\n"
    assert gear.ok("host", "guests", "-o", "name") == ""


def test_no_hosts_are_known_at_first(gear: Terminal) -> None:
    assert gear.ok("host", "list") == "NAME  ADDRESS  KNOWN AS  EXPIRES\n"
    assert gear.ok("host", "list", "-o", "json") == "[]\n"
    assert gear("host", "renew", "h1").code == 5


def test_a_damaged_file_is_told_and_others_are_asked(gear: Terminal, tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts" / "h1").write_text("# geard: {}\n")
    said = gear("list", "h1", "localhost:1")
    assert said.code == 1
    assert "h1 is damaged" in said.err
    assert "no agent answers at localhost:1" in said.err


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("90", 90), ("never", 0)])
def test_times(text: str, seconds: int) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1d", "1y", "1.5h", "１d", "9" * 30])
def test_no_times(text: str) -> None:
    with pytest.raises(Invalid):
        parse_seconds(text)
