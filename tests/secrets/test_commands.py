"""`gear secret`, what `gear install` takes for secrets, and what the agent answers about them."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from tests.fakes.terminal import Terminal, terminal

from geard.cli.main import root
from geard.identifiers import new_request_id
from geard.secrets import commands, store
from geard.secrets.requests import CreateSecret

VALUE = "swordfish"


def kept(gear: Terminal, name: str) -> bytes | None:
    path = store.folder(gear.host.paths) / name
    return store.read(gear.host.paths, name).value if path.exists() else None


def leaks(gear: Terminal) -> list[str]:
    """Where on the host's disk the value stands, as it is or in base64."""
    coded = base64.b64encode(VALUE.encode()).decode()
    return [name for name, what in gear.tree().items() if VALUE in what or coded in what]


def listed(gear: Terminal) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gear.ok("secret", "list", "-o", "json"))
    return found


@pytest.mark.parametrize("value", [b"x", b"a\nb\n", bytes(range(256)), b"\n", b"# geard: {}\n", b"\xff" * 65_536])
def test_a_value_is_kept_as_it_came(gear: Terminal, value: bytes) -> None:
    assert gear.ok("secret", "create", "db", stdin=value) == "Secret db is stored\n"
    assert kept(gear, "db") == value


def test_only_root_can_read_it(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    assert leaks(gear) == ["containers/secrets/db"]
    assert store.folder(gear.host.paths).stat().st_mode & 0o777 == 0o700
    assert (store.folder(gear.host.paths) / "db").stat().st_mode & 0o777 == 0o600


def test_asking_twice_is_harmless_and_another_value_takes_replace(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    there = gear.tree()
    assert gear.ok("secret", "create", "db", stdin=VALUE) == "Secret db has this value already\n"
    said = gear("secret", "create", "db", stdin="other")
    assert (said.code, gear.tree()) == (1, there)
    assert said.err == "Error: secret db has another value\n  --replace gives it this one\n"
    created = listed(gear)[0]["Created"]
    gear.ok("secret", "create", "db", "--replace", stdin="other")
    assert kept(gear, "db") == b"other"
    assert listed(gear)[0]["Created"] == created


def test_a_value_from_a_file(gear: Terminal, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\0\xff\n")
    gear.ok("secret", "create", "key", "--from", str(tmp_path / "key"))
    assert kept(gear, "key") == b"\0\xff\n"
    said = gear("secret", "create", "other", "--from", str(tmp_path / "nosuch"))
    assert said.code == 64 and "nosuch" in said.err


def test_a_terminal_asks_twice_and_shows_nothing(gear: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["one", "two", VALUE, VALUE])

    def hidden(prompt: str) -> str:
        return next(typed)

    monkeypatch.setattr("click.termui.hidden_prompt_func", hidden)
    monkeypatch.setattr(commands, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    said = gear("secret", "create", "db")
    assert (said.code, said.out) == (0, "Secret db is stored\n")
    assert kept(gear, "db") == VALUE.encode()
    assert list(typed) == []


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["secret", "create", "db"], b""),
        (["secret", "create", "db"], b"x" * 65_537),
        (["secret", "create", "../db"], b"x"),
        (["secret", "create", ".db"], b"x"),
        (["secret", "create", "h1/db", "h2"], b"x"),
        (["secret", "remove", "a b"], b""),
        (["secret", "remove"], b""),
        (["secret", "creat", "db"], b"x"),
        (["secret"], b""),
        (["help", "secret", "creat"], b""),
        (["help", "start", "now"], b""),
        (["install", "geard/sample", "web", "--secret", "db:key"], b""),
        (["install", "geard/sample", "web", "--secret", "db", "--secret", "api:/run/secrets/db"], b""),
    ],
)
def test_what_is_refused_before_anything_happens(gear: Terminal, words: list[str], value: bytes) -> None:
    there = gear.tree()
    assert gear(*words, stdin=value).code == 64
    assert gear.tree() == there


def test_a_name_that_cannot_be_is_told_as_what_it_should_name(gear: Terminal) -> None:
    assert "'.db' cannot name a secret" in gear("secret", "create", ".db", stdin=b"x").err
    assert "'a b' cannot name an environment" in gear("set-env", "a b", "A=1").err


def test_the_list_says_who_uses_it_and_never_a_value(gear: Terminal) -> None:
    assert gear.ok("secret", "list", "-o", "name") == ""
    gear.ok("secret", "create", "db", stdin=VALUE)
    gear.ok("secret", "create", "api", stdin=VALUE)
    gear.ok("install", "geard/sample", "web", "--secret", "db", "--secret", "db:env=DB")
    gear.ok("install", "geard/sample", "web2", "--secret", "db:/key")
    assert gear.ok("secret", "list", "-o", "name") == "api\ndb\n"
    assert [(row["Id"], row["UsedBy"]) for row in listed(gear)] == [("api", []), ("db", ["web", "web2"])]
    table = gear.ok("secret", "list")
    assert table.splitlines()[0].split() == ["NAME", "SERVER", "CREATED", "CHANGED", "USED", "BY"]
    assert table.splitlines()[2].endswith("web web2") and VALUE not in table
    gear.ok("install", "geard/sample", "web2")
    assert listed(gear)[1]["UsedBy"] == ["web"]


def test_one_that_is_used_is_not_removed_unless_forced(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    gear.ok("install", "geard/sample", "web", "--secret", "db")
    gear.ok("install", "geard/sample", "web2", "--secret", "db")
    said = gear("secret", "remove", "db")
    assert said.code == 6 and "web and web2 use it" in said.err and kept(gear, "db")
    assert gear.ok("secret", "remove", "db", "--force") == "Removed secret db\n"
    assert gear.ok("secret", "remove", "db") == "Secret db was not there\n"
    assert leaks(gear) == []
    assert "db is missing here: the next start fails" in gear.ok("status", "web")


def test_one_that_no_gear_uses_any_more_can_be_removed(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    gear.ok("install", "geard/sample", "web", "--secret", "db")
    gear.ok("delete", "web")
    assert gear.ok("secret", "remove", "db") == "Removed secret db\n"


def test_an_unknown_secret_is_refused_at_once(gear: Terminal) -> None:
    there = gear.tree()
    said = gear("install", "geard/sample", "web", "--secret", "nosuch", "-p", "8080:4000")
    assert said.code == 5
    assert said.err == "Error: there is no secret nosuch here\n  gear secret create nosuch\n"
    assert "-> " not in str(set(gear.tree().items()) - set(there.items()))


def test_what_cannot_be_a_variable_is_refused_at_the_install(gear: Terminal) -> None:
    gear.ok("secret", "create", "nul", stdin=b"a\0b")
    gear.ok("secret", "create", "bytes", stdin=b"\xff")
    gear.ok("secret", "create", "lines", stdin=b"a\nb")
    gear.ok("secret", "create", "long", stdin=b"x" * 40_000)
    for use in ("nul:env=A", "bytes:env=A", "lines:env=PATH", "long:env=A"):
        said = gear("install", "geard/sample", "web", "--secret", use)
        assert (said.code, use) == (64, use)
    gear.ok("install", "geard/sample", "web", "--secret", "nul", "--secret", "lines:env=A")


def test_a_secret_and_a_volume_do_not_share_a_path(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    said = gear("install", "geard/sample", "web", "--secret", "db:/data", "-v", "/data")
    assert said.code == 64 and "both want /data" in said.err


def test_a_start_hands_out_files_and_variables(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    gear.ok("secret", "create", "lines", stdin="two\nlines")
    gear.ok(
        *("install", "geard/sample", "web", "A=1", "B=own\nlines", "C=own", "--start"),
        *("--secret", "db", "--secret", "db:env=B", "--secret", "lines:env=C"),
    )
    state = gear.host.paths.run / "gears" / "ctr-web"
    assert (state / "secrets" / "0-db").read_text() == VALUE
    assert (state / "secrets" / "0-db").stat().st_mode & 0o777 == 0o444
    assert (state / "secrets").stat().st_mode & 0o777 == 0o700
    assert (state / "env").read_text() == "A=1\n"
    assert (state / "secrets" / "env").read_text() == f"B={VALUE}\n"
    options = (f"--env-file={state}/env", f"--env-file={state}/secrets/env", "--env=C")
    words = " ".join(f'\\"{option}\\"' for option in options)
    assert (state / "environment").read_text() == f'C="two\nlines"\nGEAR_ENV="{words}"\n'
    assert sorted(leaks(gear)) == [
        "containers/secrets/db",
        "run/gears/ctr-web/secrets/0-db",
        "run/gears/ctr-web/secrets/env",
    ]
    gear.ok("install", "geard/sample", "web", "--start", "--secret", "db", "--secret", "db:env=B")
    assert gear.host.systemd.told_about("ctr-web.service") == ["start", "restart"]
    assert not (state / "secrets" / "2-lines").exists()


def test_installing_the_same_again_restarts_nothing(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    words = ("install", "geard/sample", "web", "A=1", "B=x", "--start", "--secret", "db", "--secret", "db:env=B")
    gear.ok(*words)
    assert "is installed unchanged" in gear.ok(*words)
    assert gear.host.systemd.told_about("ctr-web.service") == ["start"]


def test_a_new_value_is_told_of_and_comes_in_with_the_next_start(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin="old")
    gear.ok("install", "geard/sample", "web", "--start", "--secret", "db", "--secret", "db:env=DB")
    assert "changed since the start" not in gear.ok("status", "web")
    said = gear.ok("secret", "create", "db", "--replace", stdin=VALUE)
    assert said == "Secret db is stored; to bring it in: gear restart web\n"
    assert "db changed since the start: 'gear restart web' brings it in" in gear.ok("status", "web")
    gear.ok("install", "geard/sample", "web", "--start", "--secret", "db", "--secret", "db:env=DB")
    assert gear.host.systemd.told_about("ctr-web.service") == ["start", "restart"]
    assert "changed since the start" not in gear.ok("status", "web")
    state = gear.host.paths.run / "gears" / "ctr-web" / "secrets"
    assert (state / "0-db").read_text() == VALUE and (state / "env").read_text() == f"DB={VALUE}\n"


def test_a_start_without_its_secret_fails_for_now_and_says_why(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    gear.ok("install", "geard/sample", "web", "--secret", "db")
    gear.ok("secret", "remove", "db", "--force")
    said = gear("start", "web")
    assert said.code == 1 and "there is no secret db here (gear secret create db)" in said.err
    assert not (gear.host.paths.run / "gears" / "ctr-web" / "permanent").exists()
    gear.ok("secret", "create", "db", stdin=VALUE)
    gear.ok("start", "web")


def test_a_deleted_gear_leaves_nothing_of_it_in_memory(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    gear.ok("install", "geard/sample", "web", "--start", "--secret", "db", "--secret", "db:env=A")
    gear.ok("delete", "web")
    assert leaks(gear) == ["containers/secrets/db"]


def test_no_word_of_geard_shows_a_value(gear: Terminal, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = [gear.ok("secret", "create", "db", stdin=VALUE)]
    words = ("geard/sample", "web", "--secret", "db", "--secret", "db:env=A")
    said.append(gear.ok("install", *words, "--start"))
    for verb in (["status", "web"], ["status", "web", "-o", "json"], ["cat", "web"], ["env", "web"], ["list"]):
        answer = gear(*verb)
        said += [answer.out, answer.err]
    said.append(gear.ok("install", *words, "--dry-run"))
    said += [gear("secret", "create", "db", stdin=f"{VALUE}2").err, gear.ok("secret", "list", "-o", "yaml")]
    told = "".join(said) + caplog.text
    assert "db -> $A" in told and VALUE not in told
    assert base64.b64encode(VALUE.encode()).decode().rstrip("=")[:-1] not in told


def test_a_request_that_has_ended_is_joined_by_its_id(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    id = new_request_id()
    with terminal(tmp_path, "http") as gear:
        words = ("--request-id", id, "secret", "create", "db")
        first = gear.ok(*words, stdin=VALUE)
        assert gear.ok(*words, stdin=VALUE) == first == "Secret db is stored\n"
        said = gear(*words, "--replace", stdin="other")
        assert said.code == 1 and "was used for something else" in said.err


def test_no_record_of_a_request_holds_the_value(gear: Terminal) -> None:
    assert VALUE not in repr(CreateSecret(id="db", value=VALUE.encode()))
    gear.ok("secret", "create", "db", stdin=VALUE)
    records = [path for path in gear.host.folder.rglob("requests/*") if path.name != "key"]
    assert any("/secret/db" in path.read_text() for path in records)
    for path in records:
        assert VALUE not in path.read_text()
        assert base64.b64encode(VALUE.encode()).decode() not in path.read_text()


def test_a_new_value_that_cannot_be_a_variable_is_told_at_the_start(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin="one line")
    gear.ok("install", "geard/sample", "web", "--secret", "db:env=PATH")
    gear.ok("secret", "create", "db", "--replace", stdin=f"{VALUE}\nlines")
    said = gear("start", "web")
    assert said.code == 1 and "PATH cannot have a value of several lines" in said.err
    assert VALUE not in said.err + gear.ok("status", "web")


def test_an_update_keeps_or_replaces_them(gear: Terminal) -> None:
    for name in ("db", "api"):
        gear.ok("secret", "create", name, stdin=VALUE)
    gear.ok("install", "geard/sample", "web", "--secret", "db")
    gear.ok("update", "web", "--label", "a=b")
    assert "Secrets: db -> /run/secrets/db\n" in gear.ok("status", "web")
    gear.ok("update", "web", "--secret", "api:env=API")
    assert "Secrets: api -> $API\n" in gear.ok("status", "web")
    gear.ok("update", "web", "--secret", "")
    assert "Secrets:" not in gear.ok("status", "web")
    assert [row["UsedBy"] for row in listed(gear)] == [[], []]


def test_a_version_whose_secret_is_gone_does_not_come_back(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    gear.ok("install", "geard/sample", "web", "--secret", "db")
    gear.ok("install", "geard/sample", "web")
    gear.ok("secret", "remove", "db")
    said = gear("rollback", "web")
    assert (said.code, "there is no secret db here" in said.err) == (5, True)
    assert "Secrets:" not in gear.ok("status", "web")
    gear.ok("secret", "create", "db", stdin=VALUE)
    gear.ok("rollback", "web")
    assert "Secrets: db -> /run/secrets/db\n" in gear.ok("status", "web")


def test_a_damaged_file_is_told_and_can_be_replaced(gear: Terminal) -> None:
    gear.ok("secret", "create", "db", stdin=VALUE)
    (store.folder(gear.host.paths) / "db").write_text("nonsense")
    assert gear("install", "geard/sample", "web", "--secret", "db").code == 1
    assert gear.ok("secret", "list", "-o", "name") == "db\n"
    gear.ok("secret", "create", "db", "--replace", stdin=VALUE)
    assert kept(gear, "db") == VALUE.encode()


def test_names_are_completed(gear: Terminal) -> None:
    gear.ok("secret", "create", "db-password", stdin=VALUE)
    gear.ok("secret", "create", "api", stdin=VALUE)

    def complete(*words: str) -> list[str]:
        *before, last = words
        return [item.value for item in ShellComplete(root, {}, "gear", "_GEAR").get_completions(before, last)]

    assert complete("secret", "remove", "") == ["api", "db-password"]
    assert complete("install", "geard/sample", "web", "--secret", "db") == ["db-password"]
    assert complete("secret", "") == ["create", "list", "remove"]


def test_help_of_its_verbs(gear: Terminal) -> None:
    assert "gear secret create [OPTIONS] NAME" in gear.ok("help", "secret", "create")
    assert gear.ok("help", "secret", "create") == gear.ok("secret", "create", "--help")
    assert "remove" in gear.ok("help", "secret")
