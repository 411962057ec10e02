"""What a wheel carries of `gear --help`: the same words, without the rooms that say them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]

RUN = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
import geard.__main__
from geard.cli import contents, main
assert contents.__file__.startswith(sys.argv[1])
said = io.StringIO()
with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
    code = main.run(sys.argv[2:])
rooms = sorted(name.split(".")[1] for name in sys.modules if name.endswith(".commands"))
json.dump([code, said.getvalue(), rooms], sys.stdout)
"""

COMPLETE = """
import os, sys
sys.path.insert(0, sys.argv[1])
os.environ |= {"_GEAR_COMPLETE": "zsh_complete", "COMP_WORDS": sys.argv[2], "COMP_CWORD": sys.argv[3]}
import geard.__main__
from geard.cli import main
try:
    main.run([])
finally:
    print("rooms", sorted(name.split(".")[1] for name in sys.modules if name.endswith(".commands")))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a wheel of this tree has been unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=TOP, check=True, capture_output=True, timeout=120)
    [wheel] = folder.iterdir()  # and nothing else
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def _program(text: str, *words: str | Path) -> str:
    argv = [sys.executable, "-I", "-c", text, *map(str, words)]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def _run(place: Path, words: str) -> tuple[int, str, list[str]]:
    code, said, rooms = json.loads(_program(RUN, place, *words.split()))
    return code, said, rooms


@pytest.mark.parametrize("words", ["", "--help", "sta", "listt", "xyzzy", "help nothing"])
def test_all_verbs_are_shown_and_suggested_without_a_room(installed: Path, words: str) -> None:
    code, said, rooms = _run(installed, words)
    assert rooms == []
    assert [code, said] == [*_run(TOP / "src", words)[:2]]


@pytest.mark.parametrize("word", ["", "st", "boo", "--", "zz"])
def test_verbs_are_completed_without_a_room(installed: Path, word: str) -> None:
    words = (f"gear {word}", "1")
    said, rooms = _program(COMPLETE, installed, *words).rsplit("rooms ", 1)
    assert rooms == "[]\n"
    assert said == _program(COMPLETE, TOP / "src", *words).rsplit("rooms ", 1)[0]


@pytest.mark.parametrize(
    ("words", "rooms"),
    [
        ("status --help", ["containers"]),
        ("ps --help", ["containers"]),
        ("secret create --help", ["secrets"]),
        ("doctor --help", ["doctor"]),
        ("daemon --help", []),
        ("completion --help", []),
        ("help help", []),
    ],
)
def test_one_verb_loads_one_room(installed: Path, words: str, rooms: list[str]) -> None:
    assert _run(installed, words) == (0, _run(TOP / "src", words)[1], rooms)


def test_every_verb_is_found_where_the_wheel_says_it_is(installed: Path) -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[1])
import click
import geard.__main__
from geard.cli import contents, main
carried = contents.carried()
assert len(carried) > 60
context = click.Context(main.root, info_name="gear")
for entry in carried:
    for name in (entry.name, *entry.aliases):
        assert main.root.get_command(context, name) is main.root.commands[entry.name], name
assert carried == main.said_by_the_rooms()
"""
    _program(program, installed)
