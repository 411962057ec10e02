"""`gear env`, `gear set-env`, and what `gear install` takes for its environment."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from tests.fakes.terminal import Terminal

from geard.environments import store


def on_disk(gear: Terminal, id: str) -> dict[str, str] | None:
    return store.load(gear.host.paths, id)


def test_set_and_show(gear: Terminal) -> None:
    assert gear.ok("set-env", "web", "A=B", "C=D") == ""
    assert gear.ok("env", "web") == "A=B\nC=D\n"
    assert json.loads(gear.ok("env", "web", "-o", "json")) == [
        {"Id": "web", "Variables": [{"Name": "A", "Value": "B"}, {"Name": "C", "Value": "D"}]}
    ]
    assert gear.ok("env", "web", "-o", "name") == "A\nC\n"


def test_what_is_not_named_stays_unless_reset(gear: Terminal) -> None:
    gear.ok("set-env", "web", "A=1", "B=2")
    gear.ok("set-env", "web", "B=3", "C=4", "--remove", "A")
    assert on_disk(gear, "web") == {"B": "3", "C": "4"}
    gear.ok("set-env", "web", "--reset", "D=5")
    assert on_disk(gear, "web") == {"D": "5"}
    gear.ok("set-env", "web", "--reset")
    assert on_disk(gear, "web") == {}


def test_several_environments_at_once(gear: Terminal) -> None:
    gear.ok("set-env", "one", "two", "A=1")
    assert gear.ok("env", "one", "two") == "A=1\nA=1\n"


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a b",
        "'",
        '"',
        "\\",
        "`x`",
        "$HOME",
        "#",
        "a\nb",
        "a\r\nb",
        "\r",
        "\ttab",
        "ünï→😀",
        "a=b",
        "\u2028",
        "\x1b[0m",
    ],
)
def test_any_value_comes_back_as_it_was_given(gear: Terminal, value: str) -> None:
    gear.ok("set-env", "web", f"A={value}", "LAST=1")
    gear.ok("set-env", "web", "B=touched")  # read and written once more
    (found,) = json.loads(gear.ok("env", "web", "-o", "json"))
    assert found["Variables"][0] == {"Name": "A", "Value": value}


def test_files_come_first_and_standard_input_is_one(gear: Terminal, tmp_path: Path) -> None:
    (tmp_path / "simple.env").write_text('TEST=value\nQUOTED=\\"foo\\"\nIGNORED\n# no\nB="from file"\n')
    gear.ok("set-env", "web", "B=from words", "--env-file", str(tmp_path / "simple.env"))
    assert on_disk(gear, "web") == {"TEST": "value", "QUOTED": '\\"foo\\"', "B": "from words"}
    gear.ok("set-env", "web", "--env-file", "-", stdin="B=piped\n")
    assert (on_disk(gear, "web") or {})["B"] == "piped"


def test_a_line_that_names_nothing_is_passed_over_and_told(gear: Terminal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("A B=1\nC=2\n")
    said = gear("set-env", "web", "--env-file", str(tmp_path / "file"))
    assert (said.code, on_disk(gear, "web")) == (0, {"C": "2"})
    assert "'A B'" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ["set-env"],
        ["set-env", "web"],
        ["set-env", "A=b"],
        ["set-env", "web", "=b"],
        ["set-env", "web", "1A=b"],
        ["set-env", "web", "A=\0"],
        ["set-env", "web", "PATH=a\nb"],
        ["set-env", "web", "--reset", "--remove", "A"],
        ["set-env", "web", "--env-file", "/nowhere/at/all"],
        ["set-env", "a", "A=b"],
        ["set-env", "web", f"A={'x' * 40_000}"],
        ["set-env", "web", "--env-url", "ftp://example.com/"],
        ["env", "-o", "json"],
        ["env", "../x"],
    ],
)
def test_what_cannot_be_set_is_refused_before_anything_happens(gear: Terminal, words: list[str]) -> None:
    there = gear.tree()
    assert gear(*words).code == 64
    assert gear.tree() == there


def test_an_environment_has_a_limit_as_a_whole(gear: Terminal) -> None:
    for number in range(3):
        gear.ok("set-env", "web", f"A{number}={'x' * 30_000}")
    there = gear.tree()
    assert gear("set-env", "web", f"B={'x' * 30_000}").code == 64
    assert gear.tree() == there


def test_only_root_can_read_an_environment(gear: Terminal) -> None:
    gear.ok("set-env", "web", "SECRET=swordfish")
    file = store.place(gear.host.paths, "web")
    assert file.stat().st_mode & 0o777 == 0o600
    assert (gear.host.paths.base / "env").stat().st_mode & 0o777 == 0o700
    leaks = [name for name, what in gear.tree().items() if "swordfish" in what]
    assert leaks == ["containers/env/contents/we/web"]


def test_setting_the_same_again_writes_nothing(gear: Terminal) -> None:
    gear.ok("set-env", "web", "A=1")
    before = store.place(gear.host.paths, "web").stat().st_ino
    gear.ok("set-env", "web", "A=1")
    assert store.place(gear.host.paths, "web").stat().st_ino == before


def test_a_gear_reads_its_own_or_a_shared_one(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "A=B", "C=D")
    assert on_disk(gear, "web") == {"A": "B", "C": "D"}
    gear.ok("install", "geard/sample", "db", "--env-id", "shared", "A=1")
    assert on_disk(gear, "db") is None
    assert on_disk(gear, "shared") == {"A": "1"}
    gear.ok("install", "geard/sample", "db2", "--env-id", "shared", "B=2")
    assert on_disk(gear, "shared") == {"A": "1", "B": "2"}
    assert "shared: 2 variables" in gear.ok("status", "db")
    gear.ok("delete", "--purge", "db")
    assert on_disk(gear, "shared") == {"A": "1", "B": "2"}


def test_an_install_without_variables_leaves_those_there_are(gear: Terminal) -> None:
    gear.ok("set-env", "web", "A=1")
    gear.ok("install", "geard/sample", "web")
    assert on_disk(gear, "web") == {"A": "1"}


def test_what_a_start_hands_to_the_engine(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "A=b c", "B=two\nlines", "D=x\r\ny", "--start")
    state = gear.host.paths.run / "gears" / "ctr-web"
    assert (state / "env").read_bytes() == b"A=b c\n"
    assert (state / "environment").read_bytes() == (
        b'B="two\nlines"\nD="x\r\ny"\n'
        b'GEAR_ENV="\\"--env-file=' + str(state).encode() + b'/env\\" \\"--env=B\\" \\"--env=D\\""\n'
    )
    assert (state / "env").stat().st_mode & 0o777 == 0o600


def test_a_change_is_brought_in_by_the_next_install_with_start(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    gear.ok("set-env", "web", "A=1")
    gear.ok("install", "geard/sample", "web", "--start")
    assert gear.host.systemd.told_about("ctr-web.service") == ["start", "restart"]


def test_a_file_is_read_byte_for_byte(gear: Terminal, tmp_path: Path) -> None:
    """A carriage return in the middle of a line is part of the value."""
    (tmp_path / "env").write_bytes(b"A=one\rtwo\r\nB=\xc3\xbc\n")
    gear.ok("set-env", "odd", "--env-file", str(tmp_path / "env"))
    assert gear.ok("env", "odd") == "A=one\rtwo\nB=ü\n"
    (tmp_path / "env").write_bytes(b"A=\xff\n")
    said = gear("set-env", "odd", "--env-file", str(tmp_path / "env"))
    assert said.code == 64 and "cannot read the environment file" in said.err


def test_a_draft_that_a_killed_writer_left_goes_with_the_next_word(gear: Terminal) -> None:
    """It holds the variables as much as the environment does."""
    draft = store.place(gear.host.paths, "web").with_name(".web.tmp")
    for words in (("set-env", "web", "A=1"), ("set-env", "web", "A=1"), ("delete-env", "web")):
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text('A="hal')
        gear.ok(*words)
        assert not draft.exists(), words


def test_a_full_disk_is_told_with_what_helps(gear: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        done = gear("set-env", "web", "A=1")
    assert done.code == 1
    assert "No space left on device" in done.err
    assert "env/contents/we/web" in done.err
    assert "df -h" in done.err
    assert on_disk(gear, "web") is None
