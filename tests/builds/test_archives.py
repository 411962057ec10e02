"""Archives of strangers stay in their folder; owners are mapped back."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from geard.builds.archives import beneath, top, unpack
from geard.builds.owners import inside, shift_archive
from geard.builds.watching import tip
from geard.failures import Invalid

LIMIT = 1_000_000


def tar(*entries: tuple[str, bytes, bytes | str], mode: str = "w") -> io.BytesIO:
    """Each a name, a type and its content, or what it leads to."""
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode=mode) as archive:  # type: ignore[call-overload]
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o6755
            if isinstance(content, str):
                info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    found.seek(0)
    return found


FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_what_is_plain_arrives(tmp_path: Path, mode: str) -> None:
    archive = tar(
        ("a/b", FILE, b"x"), ("a/c", LINK, "b"), ("a/d", HARD, "a/b"), ("./a/e/", tarfile.DIRTYPE, b""), mode=mode
    )
    assert unpack(archive, tmp_path, limit=LIMIT) == 1
    assert (tmp_path / "a/d").read_text() == "x" == (tmp_path / "a/c").read_text()
    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o755
    assert top(tmp_path) == tmp_path / "a"


@pytest.mark.parametrize(
    "entries",
    [
        [("/etc/passwd", FILE, b"x")],
        [("../x", FILE, b"x")],
        [("a/../../x", FILE, b"x")],
        [("a", LINK, "/etc"), ("a/passwd", FILE, b"x")],
        [("a", LINK, "../..")],
        [("a", LINK, "b"), ("b", tarfile.DIRTYPE, b""), ("a/x", FILE, b"x")],
        [("a", HARD, "/etc/passwd")],
        [("a", HARD, "../x")],
        [("a", HARD, "nothing")],
        [("a", LINK, "b"), ("c", HARD, "a")],
        [("a", tarfile.CHRTYPE, b"")],
        [("a", tarfile.BLKTYPE, b"")],
        [("a", tarfile.FIFOTYPE, b"")],
        [("a", FILE, b"x" * (LIMIT + 1))],
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, entries: list[tuple[str, bytes, bytes | str]]) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(Invalid):
        unpack(tar(*entries), tmp_path / "in", limit=LIMIT)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("content", [b"", b"no tar", b"\x1f\x8b\x08\x00" + b"x" * 100])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Invalid):
        unpack(io.BytesIO(content), tmp_path, limit=LIMIT)


def test_links_that_lead_out_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/passwd").symlink_to("/etc/passwd")
    (tmp_path / "src/file").touch()
    assert beneath(tmp_path / "src", "passwd") is None and beneath(tmp_path / "src", "../..") is None
    assert beneath(tmp_path / "src", "file") == tmp_path / "src/file"


def test_ids_that_are_not_the_builds_stay() -> None:
    assert [inside(id, 1_000, 100) for id in (0, 999, 1_000, 1_099, 1_100)] == [0, 999, 0, 99, 1_100]


def test_an_images_owners_are_mapped_back(tmp_path: Path) -> None:
    plain, other = tar(("etc/x", FILE, b"x")).read(), io.BytesIO()
    with tarfile.open(fileobj=other, mode="w", format=tarfile.PAX_FORMAT) as layer:
        info = tarfile.TarInfo("srv/y")
        info.uid, info.gid, info.size = 900_000_005, 900_000_006, 1
        info.pax_headers = {"SCHILY.xattr.user.a": "b"}
        layer.addfile(info, io.BytesIO(b"y"))
    config = json.dumps({"rootfs": {"diff_ids": ["sha256:1", "sha256:2"]}, "config": {"User": "7"}}).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["x"], "Layers": ["1.tar", "2.tar"]}]).encode()
    (tmp_path / "old.tar").write_bytes(
        tar(("1.tar", FILE, plain), ("2.tar", FILE, other.getvalue()), ("c.json", FILE, config),
            ("manifest.json", FILE, manifest)).read()
    )  # fmt: skip
    assert shift_archive(tmp_path / "old.tar", tmp_path / "new.tar", tmp_path, 900_000_000, 65_536, "a/b:new")
    with tarfile.open(tmp_path / "new.tar") as new:
        (image,) = json.load(new.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert image["RepoTags"] == ["a/b:new"]
        first, second = (new.extractfile(path).read() for path in image["Layers"])  # type: ignore[union-attr]
        assert first == plain
        entry = tarfile.open(fileobj=io.BytesIO(second)).getmember("srv/y")  # noqa: SIM115
        assert (entry.uid, entry.gid, entry.pax_headers["SCHILY.xattr.user.a"]) == (5, 6, "b")
        made = json.load(new.extractfile(image["Config"]))  # type: ignore[arg-type]
        assert [f"{each.removeprefix('sha256:')}.tar" for each in made["rootfs"]["diff_ids"]] == image["Layers"]


def test_the_tip_of_a_branch(tmp_path: Path) -> None:
    (tmp_path / "refs/heads").mkdir(parents=True)
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    assert tip(tmp_path, "") == ""
    (tmp_path / "packed-refs").write_text(f"# pack-refs\n{'b' * 40} refs/heads/main\n")
    assert tip(tmp_path, "") == "b" * 40
    (tmp_path / "refs/heads/main").write_text("a" * 40 + "\n")
    assert tip(tmp_path, "main") == "a" * 40
    (tmp_path / "refs/heads/out").symlink_to("/etc/passwd")
    assert tip(tmp_path, "out") == tip(tmp_path, "../x") == ""
