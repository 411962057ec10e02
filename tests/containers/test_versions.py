"""Versions on disk: a swap that was cut in two is mended, five are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.containers.test_units import PLAIN
from tests.fakes.host import FakeHost, tree

from geard import catalog
from geard.containers import versions
from geard.containers.definition import Definition
from geard.containers.folders import Folders
from geard.failures import Invalid, NotFound
from geard.host.storage import Changes


def version(number: int) -> Definition:
    return msgspec.structs.replace(
        PLAIN,
        version=f"{number:022d}",
        written=f"2026-11-23T20:00:{number:02d}.000000+00:00",
        image=f"nginx:{number}",
    )


@pytest.fixture
def web(fake_host: FakeHost) -> Folders:
    folders = Folders.of(fake_host.paths, "web")
    folders.versions.mkdir(parents=True)
    return folders


def write(host: FakeHost, folders: Folders, definition: Definition) -> None:
    with Changes() as changes:
        versions.write(folders, changes, definition, catalog.load(), host.engine)


def test_the_current_files_are_second_names_of_the_newest_version(fake_host: FakeHost, web: Folders) -> None:
    assert versions.current(web) is None
    for number in (1, 2):
        write(fake_host, web, version(number))
        write(fake_host, web, version(number))
        assert versions.current(web) == version(number) == versions.require(web)
        assert web.unit.samefile(web.versions / version(number).version)
        assert web.run.samefile(web.versions / f"{version(number).version}.run")
    assert versions.recorded(web) == [version(2), version(1)]
    assert web.unit.stat().st_mode & 0o777 == 0o644
    assert web.run.stat().st_mode & 0o777 == 0o600


def test_a_gear_that_is_not_there(web: Folders) -> None:
    with pytest.raises(NotFound, match="there is no gear web here"):
        versions.require(web)


class KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("steps", range(4))
def test_a_writer_killed_at_any_step_leaves_one_version_or_the_other(
    fake_host: FakeHost, web: Folders, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    write(fake_host, web, version(1))
    left = steps
    real_write, real_link = Changes.write_all, Changes.link

    def one_more() -> None:
        nonlocal left
        if left == 0:
            raise KilledError
        left -= 1

    def writing(self: Changes, files: Sequence[tuple[Path, bytes | str, int]]) -> None:
        one_more()
        real_write(self, files)

    def linking(self: Changes, source: Path, path: Path) -> None:
        one_more()
        real_link(self, source, path)

    with monkeypatch.context() as patch:
        patch.setattr(Changes, "write_all", writing)
        patch.setattr(Changes, "link", linking)
        try:
            write(fake_host, web, version(2))
        except KilledError:
            assert steps < 3
    with Changes() as changes:
        versions.mend(web, changes)
    now = versions.current(web)
    assert now in (version(1), version(2))
    assert now is not None
    assert web.unit.samefile(web.versions / now.version)
    assert now == (version(2) if steps >= 2 else version(1))
    # and whoever was killed can do it again
    write(fake_host, web, version(2))
    assert versions.current(web) == version(2)


def test_what_a_killed_writer_left_lying_is_removed(fake_host: FakeHost, web: Folders) -> None:
    write(fake_host, web, version(1))
    there = tree(web.bucket)
    for name in (".x.0123abcd.tmp", ".x.run.0123abcd.tmp"):
        (web.versions / name).touch()
    with Changes() as changes:
        versions.mend(web, changes)
    assert tree(web.bucket) == there


def test_mending_what_is_whole_changes_nothing(fake_host: FakeHost, web: Folders) -> None:
    write(fake_host, web, version(1))
    there = tree(web.bucket)
    for _ in range(2):
        with Changes() as changes:
            versions.mend(web, changes)
    assert tree(web.bucket) == there


def test_five_versions_are_kept_and_the_one_in_force(fake_host: FakeHost, web: Folders) -> None:
    for number in range(1, 9):
        write(fake_host, web, version(number))
        with Changes() as changes:
            versions.forget_old(web, changes, versions.recorded(web), {version(1).version})
    assert versions.recorded(web) == [*(version(number) for number in (8, 7, 6, 5, 4)), version(1)]
    assert len(list(web.versions.iterdir())) == 12


def test_text_that_cannot_be_carried_changes_nothing(fake_host: FakeHost, web: Folders) -> None:
    write(fake_host, web, version(1))
    there = tree(web.bucket)
    with pytest.raises(Invalid):
        write(fake_host, web, msgspec.structs.replace(version(2), command=("x" * 200_000,)))
    assert tree(web.bucket) == there


def test_a_definition_that_somebody_else_wrote_is_none_of_ours(web: Folders) -> None:
    web.unit.touch()
    web.run.write_text('GEAR_RUN="--name x"\n')
    assert versions.current(web) is None
    with Changes() as changes:
        versions.mend(web, changes)
