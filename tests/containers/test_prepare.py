"""gear-prepare: what a gear's start lays out, from what stands on disk. Its input comes from hostile hands too."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from tests.containers.test_units import PLAIN
from tests.fakes.host import FakeHost

from geard import catalog
from geard.containers import versions
from geard.containers.folders import Folders
from geard.containers.unit_hooks import prepare
from geard.environments import store
from geard.host.storage import Changes


@pytest.fixture
def folders(fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setattr(prepare, "BASE", str(fake_host.paths.base))
    monkeypatch.setattr(prepare, "RUN", str(fake_host.paths.run / "gears"))
    monkeypatch.setattr(prepare, "IMAGES", "/nowhere")
    monkeypatch.setattr(sys, "argv", ["gear-prepare", "ctr-web"])
    found = Folders.of(fake_host.paths, "web")
    found.versions.mkdir(parents=True)
    return found


def lay_out(host: FakeHost, folders: Folders, *command: str) -> tuple[str, str, str]:
    """env, environment and version for a gear of that command."""
    definition = msgspec.structs.replace(PLAIN, command=command)
    with Changes() as changes:
        versions.write(folders, changes, definition, catalog.load(), host.engine)
    assert prepare.main("ctr-web") == 0
    env, environment, version = ((folders.state / name).read_text() for name in ("env", "environment", "version"))
    return env, environment, version


def test_a_gear_without_an_environment(fake_host: FakeHost, folders: Folders) -> None:
    env, environment, version = lay_out(fake_host, folders)
    assert (env, version) == ("", PLAIN.version)
    assert environment == f'GEAR_ENV="--env-file={folders.state}/env"\n'


def test_the_environment_is_laid_out_for_root_alone(fake_host: FakeHost, folders: Folders) -> None:
    with Changes() as changes:
        store.replace(fake_host.paths, changes, "web", {"A": "b"})
    assert lay_out(fake_host, folders)[0] == "A=b\n"
    assert (folders.state / "env").stat().st_mode & 0o777 == 0o600
    assert folders.state.stat().st_mode & 0o777 == 0o700


def test_what_the_last_start_left_is_gone(fake_host: FakeHost, folders: Folders) -> None:
    folders.state.mkdir(parents=True)
    for name in ("pid", "cid", "failure", "permanent"):
        (folders.state / name).touch()
    lay_out(fake_host, folders)
    assert sorted(path.name for path in folders.state.iterdir()) == ["engine", "env", "environment", "version"]


@pytest.mark.parametrize(
    "line", ["GEAR_ENVIRONMENT=other", "GEAR_ENVIRONMENT=../../../secret", "GEAR_VERSION=x", "GEAR_IMAGE=x"]
)
def test_a_word_of_the_command_is_no_line_of_the_definition(
    fake_host: FakeHost, folders: Folders, tmp_path: Path, line: str
) -> None:
    """A word may have lines; one of them must not be taken for what geard wrote (another's secrets, for one)."""
    (tmp_path / "secret").write_text("PASSWORD=swordfish\n")
    (fake_host.paths.base / "secret").write_text("PASSWORD=swordfish\n")
    with Changes() as changes:
        store.replace(fake_host.paths, changes, "other", {"PASSWORD": "swordfish"})
        changes.folder(fake_host.paths.base / "env/contents/..", 0o700)
    env, environment, version = lay_out(fake_host, folders, f"one\n{line}\n")
    assert "swordfish" not in env + environment
    assert version == PLAIN.version
