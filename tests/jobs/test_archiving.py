from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from geard.jobs import archiving
from geard.jobs.archiving import archive, stays_inside
from geard.jobs.handing_back import _Pieces  # pyright: ignore[reportPrivateUsage]


def members(folder: Path, most: int = 1 << 20) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive(str(folder), most)))) as found:
        return {member.name: member for member in found.getmembers()}


def test_files_folders_and_links_that_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"x" * 1_000)
    os.symlink("../a", tmp_path / "b" / "inside")
    os.symlink("/etc/shadow", tmp_path / "evil")
    os.symlink("../../x", tmp_path / "b" / "out")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").chmod(0o4755)
    found = members(tmp_path)
    assert sorted(found) == ["a", "b", "b/c", "b/inside"]
    assert (found["a"].mode, found["a"].uid, found["b/inside"].linkname) == (0o755, 0, "../a")


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large").write_bytes(b"x" * 2_000)
    (tmp_path / "small").write_bytes(b"x" * 500)
    assert sorted(members(tmp_path, 1_000)) == ["small"]
    monkeypatch.setattr(archiving, "ENTRIES", 1)
    assert sorted(members(tmp_path)) == ["large"]


def test_no_link_in_its_place_is_followed(tmp_path: Path) -> None:
    os.symlink("/etc", tmp_path / "artifacts")
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        next(archive(str(tmp_path / "artifacts"), 1_000))


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        ("a", "b", True),
        ("a/b", "../c", True),
        ("a/b", "../../c", False),
        ("a", "..", False),
        ("a", "/etc", False),
        ("a", "", False),
        ("a/b/c", "../../../a/x", False),
        ("a", "./b/../c", True),
    ],
)
def test_links_that_stay_inside(path: str, target: str, inside: bool) -> None:
    assert stays_inside(path, target) is inside


def test_pieces_are_read_as_a_file() -> None:
    pieces = _Pieces(iter([b"abc", b"defg", b"h"]))
    assert [pieces.read(2), pieces.read(4), pieces.read(10), pieces.read(1)] == [b"ab", b"cdef", b"gh", b""]
