"""Trees as a tar and back; and tars that somebody hostile made."""

from __future__ import annotations

import errno
import io
import os
import socket
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from geard.copying.archive import SET_ID, Refused, pack, unpack

Facts = dict[str, tuple[int, bytes | str | None]]


def facts(folder: Path) -> Facts:
    """Mode, and contents or target, of all below."""
    found: Facts = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode & 0o7777
        contents: bytes | str | None = None
        if path.is_symlink():
            contents, mode = os.readlink(path), 0
        elif path.is_file():
            contents = path.read_bytes()
        found[str(path.relative_to(folder))] = (mode, contents)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "sub/deep").mkdir(parents=True)
    (top / "sub").chmod(0o2750)
    (top / "closed").mkdir()
    (top / "closed/file").write_text("in there")
    (top / "empty").touch(0o600)
    (top / "big").write_bytes(os.urandom(3_000_000))
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o4755)
    (top / "sub/link").symlink_to("../run")
    (top / "sub/out").symlink_to("/etc/passwd")
    (top / ("long" * 60)).write_text("a name of 240 bytes")
    (top / os.fsdecode(b"no utf-8 \xff")).write_text("x")
    os.link(top / "run", top / "sub/second name")
    os.utime(top / "sub", (1_000_000_000, 1_000_000_000))
    (top / "closed").chmod(0o500)
    return top


def packed(path: Path, name: str) -> bytes:
    out = io.BytesIO()
    pack(str(path), name, out, print)
    return out.getvalue()


def test_there_and_back(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    files = unpack(io.BytesIO(packed(tree, "copy")), str(tmp_path / "to"), print)
    copy = tmp_path / "to/copy"
    assert facts(copy) == facts(tree)
    assert files == 6, "a second name is none more"
    assert (copy / "run").stat().st_ino == (copy / "sub/second name").stat().st_ino
    assert (copy / "sub").stat().st_mtime == 1_000_000_000
    # the same over it: whole files in place of whole files
    inode = (copy / "big").stat().st_ino
    unpack(io.BytesIO(packed(tree, "copy")), str(tmp_path / "to"), print)
    assert facts(copy) == facts(tree) and (copy / "big").stat().st_ino != inode


@pytest.mark.parametrize("nameless", [True, False])
def test_files_have_no_name_before_they_are_whole(
    nameless: bool, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system has such files; elsewhere they have one of their own, which goes in any case."""
    to = tmp_path / "to"
    to.mkdir()
    (to / "big").write_text("before")
    opened = os.open

    def without(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no")
        return opened(path, flags, mode, dir_fd=dir_fd)

    if not nameless:
        monkeypatch.setattr(os, "open", without)
    seen: list[list[str]] = []

    class Watched(io.BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            seen.append(sorted(os.listdir(to)))
            return super().read(count)

    whole = packed(tree / "big", "big")
    unpack(Watched(whole), str(to), print)
    assert (to / "big").read_bytes() == (tree / "big").read_bytes()
    assert any(len(names) > 1 for names in seen) != nameless
    with pytest.raises(Refused, match="no tar"):
        unpack(io.BytesIO(whole[:1_000_000]), str(to), print)
    assert os.listdir(to) == ["big"] and (to / "big").stat().st_size == 3_000_000


def test_contents_alone_and_one_file(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    unpack(io.BytesIO(packed(tree, ".")), str(tmp_path / "to"), print)
    assert facts(tmp_path / "to") == facts(tree)
    unpack(io.BytesIO(packed(tree / "big", "new")), str(tmp_path / "to"), print)
    assert (tmp_path / "to/new").read_bytes() == (tree / "big").read_bytes()
    with pytest.raises(Refused, match="is no folder"):
        packed(tree / "big", ".")


def test_no_file_keeps_the_rights_of_its_owner(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    unpack(io.BytesIO(packed(tree, "copy")), str(tmp_path / "to"), print, mask=0o7777 & ~SET_ID)
    assert (tmp_path / "to/copy/run").stat().st_mode & 0o7777 == 0o755


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    os.mkfifo(tmp_path / "from/pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "from/socket"))
    said: list[str] = []
    out = io.BytesIO()
    assert pack(str(tmp_path / "from"), "x", out, said.append) == 0
    assert said == [f"left out: {tmp_path}/from/pipe is a pipe", f"left out: {tmp_path}/from/socket is a socket"]
    with pytest.raises(Refused, match="no file or folder"):
        pack(str(tmp_path / "from/pipe"), "x", out, said.append)


Entry = tuple[str, bytes, str]


def tar(entries: Sequence[Entry]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, kind, rest in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind == tarfile.REGTYPE:
                entry.size = len(rest)
            else:
                entry.linkname = rest
            made.addfile(entry, io.BytesIO(rest.encode()) if kind == tarfile.REGTYPE else None)
    out.seek(0)
    return out


@pytest.mark.parametrize(
    "entries",
    [
        [("../out", tarfile.REGTYPE, "x")],
        [("a/../../out", tarfile.REGTYPE, "x")],
        [("a", tarfile.SYMTYPE, ".."), ("a/out", tarfile.REGTYPE, "x")],
        [("a", tarfile.SYMTYPE, "/"), ("a/tmp/out", tarfile.REGTYPE, "x")],
        [("a", tarfile.SYMTYPE, ".."), ("a", tarfile.DIRTYPE, ""), ("a/out", tarfile.REGTYPE, "x")],
        [("a", tarfile.SYMTYPE, ".."), ("b", tarfile.LNKTYPE, "a/secret")],
        [("b", tarfile.LNKTYPE, "../secret")],
        [("b", tarfile.LNKTYPE, "")],
    ],
)
def test_nothing_leads_out(tmp_path: Path, entries: list[Entry]) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "to").mkdir()
    with pytest.raises(Refused):
        unpack(tar(entries), str(tmp_path / "to"), print)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "to"]
    assert not (tmp_path / "to/b").exists()


def test_links_are_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a").symlink_to("../secret")
    unpack(tar([("a", tarfile.REGTYPE, "new"), ("/b", tarfile.REGTYPE, "x")]), str(tmp_path / "to"), print)
    assert (tmp_path / "secret").read_text() == "secret"
    assert facts(tmp_path / "to").keys() == {"a", "b"} and not (tmp_path / "to/a").is_symlink()


def test_devices_are_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    assert (
        unpack(tar([("null", tarfile.CHRTYPE, ""), ("f", tarfile.FIFOTYPE, "")]), str(tmp_path), said.append) == 0
    )
    assert len(said) == 2 and list(tmp_path.iterdir()) == []


def test_a_folder_and_a_file_do_not_take_each_others_place(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for entries in ([("folder", tarfile.REGTYPE, "x")], [("file", tarfile.DIRTYPE, "")]):
        with pytest.raises(Refused) as refused:
            unpack(tar(entries), str(tmp_path), print)
        assert refused.value.kind == "Conflict"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_what_is_no_tar_or_ends_early(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    whole = packed(tree, "copy")
    broken = [b"", b"x" * 10, os.urandom(5_000), whole[:1_000_000], whole[: len(whole) - 10_240 - 512]]
    for data in broken:
        with pytest.raises(Refused) as refused:
            unpack(io.BytesIO(data), str(tmp_path / "to"), print)
        assert refused.value.kind == "Invalid"
    assert not list((tmp_path / "to").rglob(".gear-*")), "no draft is left"
    with pytest.raises(Refused, match="No such file"):
        unpack(io.BytesIO(whole), str(tmp_path / "nosuch"), print)
    with pytest.raises(Refused, match="is no folder"):
        unpack(io.BytesIO(whole), str(tree / "run"), print)
