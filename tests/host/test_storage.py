"""Files that are whole or not there, links that are made once, one lock per folder."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.host import tree

from geard.failures import Conflict
from geard.host.storage import Changes, locked, read_text, sweep

processes = multiprocessing.get_context("spawn")


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["open", "write", "fsync", "fchmod", "rename"])
@pytest.mark.parametrize("before", [None, "old\n"])
def test_a_write_that_fails_leaves_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, before: str | None
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_text(before)
    there = tree(tmp_path)
    changes = Changes()
    with monkeypatch.context() as patch:
        patch.setattr(os, step, no_space)
        with pytest.raises(OSError, match="No space"):
            changes.write(path, "new\n")
    assert tree(tmp_path) == there
    assert list(tmp_path.iterdir()) == ([path] if before is not None else [])


def test_a_write_puts_a_whole_file_in_place_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    old = path.stat().st_ino
    with Changes() as changes:
        changes.write(path, "é\r\n\udc80".encode(errors="surrogateescape"), 0o600)
    assert path.read_bytes() == "é\r\n".encode() + b"\x80"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_ino != old


def test_a_write_never_goes_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("keep")
    (tmp_path / "file").symlink_to(target)
    with Changes() as changes:
        changes.write(tmp_path / "file", "new")
    assert target.read_text() == "keep"
    assert not (tmp_path / "file").is_symlink()


def test_contents_are_on_disk_before_a_name_leads_to_them_and_folders_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        done.append(f"fsync {os.path.basename(os.readlink(f'/proc/self/fd/{fd}')).split('.')[-1] or 'folder'}")
        real_fsync(fd)

    def rename(source: str, target: Path) -> None:
        done.append(f"rename {target.name}")
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    with Changes() as changes:
        changes.write(tmp_path / "a", "1")
        changes.write_all([(tmp_path / "b", "2", 0o600), (tmp_path / "c", b"3", 0o644)])
    assert done == [
        "fsync tmp",
        "rename a",
        "fsync tmp",
        "fsync tmp",
        "rename b",
        "rename c",
        f"fsync {tmp_path.name}",
    ]


@pytest.mark.parametrize("step", ["open", "write", "fsync", "rename"])
@pytest.mark.parametrize("count", [0, 1])
def test_of_files_written_together_none_takes_its_place_before_all_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, count: int
) -> None:
    (tmp_path / "a").write_text("old")
    real, left = getattr(os, step), count

    def fails_later(*given: Any) -> Any:
        nonlocal left
        left -= 1
        return no_space() if left < 0 else real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fails_later)
        with pytest.raises(OSError, match="No space"):
            Changes().write_all([(tmp_path / "a", "new", 0o600), (tmp_path / "b", "new", 0o600)])
    named = step == "rename" and count == 1
    assert (tmp_path / "a").read_text() == ("new" if named else "old")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_folders_are_synced_also_where_a_request_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    def fail() -> None:
        with Changes() as changes:
            changes.symlink("target", tmp_path / "link")
            raise Conflict("something")

    with pytest.raises(Conflict):
        fail()
    assert len(synced) == 1


def test_a_link_takes_the_place_of_another_file_and_of_the_same(tmp_path: Path) -> None:
    new, current = tmp_path / "v2", tmp_path / "current"
    new.write_text("2")
    current.write_text("1")
    with Changes() as changes:
        for _ in range(3):
            changes.link(new, current)
            assert current.samefile(new)
            assert current.stat().st_nlink == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v2"]


def test_a_link_that_fails_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, current = tmp_path / "v2", tmp_path / "current"
    new.write_text("2")
    current.write_text("1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", no_space)
        with pytest.raises(OSError, match="No space"):
            Changes().link(new, current)
    assert current.read_text() == "1"
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v2"]


def test_a_symlink_is_made_once_and_pointed_anew(tmp_path: Path) -> None:
    link = tmp_path / "link"
    with Changes() as changes:
        changes.symlink("one", link)
        with pytest.raises(FileExistsError):
            changes.symlink("two", link)
        assert link.readlink() == Path("one")
        changes.point(link, "two")
        before = link.lstat().st_ino
        changes.point(link, "two")
        assert (link.readlink(), link.lstat().st_ino) == (Path("two"), before)


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    with Changes() as changes:
        assert changes.remove(tmp_path / "absent") is False
        changes.remove_tree(tmp_path / "absent")
        (tmp_path / "there").touch()
        assert changes.remove(tmp_path / "there") is True


def test_a_tree_is_removed_and_what_its_links_lead_to_is_not(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").touch()
    inside = tmp_path / "inside"
    (inside / "deep" / "deeper").mkdir(parents=True)
    (inside / "deep" / "file").touch()
    (inside / "out").symlink_to(outside)
    (inside / "broken").symlink_to("nowhere")
    (tmp_path / "way-in").symlink_to(outside)
    with Changes() as changes:
        changes.remove_tree(inside)
        changes.remove_tree(tmp_path / "way-in")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside"]
    assert (outside / "keep").exists()


def test_folders_are_made_with_their_mode_and_left_alone_after(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with Changes() as changes:
            changes.folder(tmp_path / "a" / "b", 0o755)
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755
    (tmp_path / "a").chmod(0o700)
    with Changes() as changes:
        changes.folder(tmp_path / "a" / "b", 0o755)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_a_sweep_removes_drafts_and_nothing_else(tmp_path: Path) -> None:
    for name in (".file.0123abcd.tmp", "file", ".hidden", "file.tmp"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "file", "file.tmp"]
    sweep(tmp_path / "absent")


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\xff\r\n")
    assert read_text(tmp_path / "absent") is None
    assert read_text(tmp_path / "file" / "inside") is None
    assert read_text(tmp_path / "file") is not None


@pytest.mark.parametrize("line", ["a\r\nb\n", "a\rb"])
def test_what_is_read_is_what_was_written(tmp_path: Path, line: str) -> None:
    """An environment's values may have a carriage return in them."""
    with Changes() as changes:
        changes.write(tmp_path / "file", line)
    assert read_text(tmp_path / "file") == line


def test_the_lock_keeps_threads_apart(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with locked(tmp_path / "gear"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def _hold(folder: str, held: Event, go_on: Event) -> None:
    with locked(Path(folder)):
        held.set()
        go_on.wait(20)


def test_the_lock_keeps_processes_apart_and_ends_with_its_holder(tmp_path: Path) -> None:
    held, go_on = processes.Event(), processes.Event()
    child = processes.Process(target=_hold, args=(str(tmp_path / "gear"), held, go_on))
    child.start()
    try:
        assert held.wait(20)
        with pytest.raises(Conflict), locked(tmp_path / "gear", wait=False):
            pass
        child.kill()
        child.join()
        with locked(tmp_path / "gear", wait=False):
            pass
    finally:
        child.kill()
        child.join()
        child.close()


def test_who_waited_for_a_folder_that_was_deleted_holds_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "gear"
    holding = threading.Event()

    def work() -> None:
        with locked(folder):
            # the lock is on the folder of that name: nobody else gets it
            fd = os.open(folder, os.O_RDONLY)
            try:
                with pytest.raises(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(fd)
            holding.set()

    with locked(folder):
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.05)
        assert not holding.is_set()
        folder.rmdir()
    thread.join(10)
    assert holding.is_set()


def test_the_lock_is_given_back_where_the_work_fails(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="oops"), locked(tmp_path / "gear", wait=False):
            raise ValueError("oops")
