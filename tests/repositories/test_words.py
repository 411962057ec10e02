"""What is understood of what strangers say: commands by SSH, sources, refs, word of pushes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from geard.failures import Denied, Invalid
from geard.host.paths import Paths
from geard.repositories.logins import wanted
from geard.repositories.pushes import Change, parse_push, taken
from geard.repositories.refs import file_name, is_ref
from geard.repositories.sources import Source, parse_source

ZERO, ONE, TWO = "0" * 40, "1" * 40, "2" * 40


@pytest.mark.parametrize("path", ["shop", "'shop'", "shop.git", "/shop", "'~'", "'~/'", "/~/shop", "''"])
def test_a_program_on_its_own_repository(path: str) -> None:
    assert wanted(f"git-upload-pack {path}", "shop", write=False)[1] == ("git", "upload-pack", "--strict")
    assert wanted(f"git upload-archive {path}", "shop", write=False)[0] == "git-upload-archive"
    assert wanted(f"git-receive-pack {path}", "shop", write=True)[1] == ("git", "receive-pack")


@pytest.mark.parametrize(
    "command",
    [
        None,
        "",
        "sh",
        "git",
        "git-upload-pack",
        "git-upload-pack 'shop",
        "git-upload-pack shop; id",
        "git-upload-pack --upload-pack=id shop",
        "git-upload-pack -- shop",
        "git-upload-pack other",
        "git-upload-pack ../shop",
        "git-upload-pack /etc",
        "git-upload-pack ~other",
        "git-upload-pack shop.git.git",
        "git-shell shop",
        "git --exec-path=/tmp shop",
        "git-receive-pack\nid shop",
        "/usr/bin/git-upload-pack shop",
        "internal-sftp",
    ],
)
def test_all_else_is_denied(command: str | None) -> None:
    with pytest.raises(Denied):
        wanted(command, "shop", write=True)


def test_a_key_to_read_does_not_push() -> None:
    with pytest.raises(Denied, match="fetched, not pushed"):
        wanted("git-receive-pack shop", "shop", write=False)


def test_what_a_repository_may_be_filled_from() -> None:
    assert parse_source("https://example.com/a/b.git") == Source(url="https://example.com/a/b.git")
    assert parse_source("git://github.com/pmorie/simple-html").url.startswith("git://")
    for text in ("shop", "repo://shop", "/var/lib/containers/git/shop"):
        assert parse_source(text) == Source(hosted="shop")


@pytest.mark.parametrize(
    "text",
    [
        "ext::sh -c id",
        "ext://x/y",
        "file:///etc",
        "/etc/passwd",
        "../shop",
        "ssh://host/x",
        "host:path",
        "--upload-pack=id",
        "-oProxyCommand=id",
        "https://me:secret@example.com/x",
        "https://",
        "http://example.com:22/x",
        "git://",
        "git://example.com",
        "git://example.com:22/x",
        "git://-oProxyCommand=id/x y",
        "https://example.com/a\nb",
        "repo://h1/shop",
    ],
)
def test_what_it_may_not(text: str) -> None:
    with pytest.raises(Invalid) as failed:
        parse_source(text)
    assert "secret" not in failed.value.message


@pytest.mark.parametrize("ref", ["master", "a/b", "refs/heads/é/漢字", "v1.0", "HEAD", ONE, "a.b-c_d", "@"])
def test_refs(ref: str) -> None:
    assert is_ref(ref)


@pytest.mark.parametrize(
    "ref",
    ["", "-o", "--output=x", "a..b", "a:b", ":/text", "a^", "a~1", "a@{1}", "a b", "a\nb", "a\0", "/a", "a/",
     "a//b", "a*", "a?", "[a", "a\\b", "a.", "x" * 1_001],
)  # fmt: skip
def test_what_names_none(ref: str) -> None:
    assert not is_ref(ref)


def test_the_name_of_an_archive() -> None:
    assert file_name("shop", 'a/é"\r\n', "tar.gz") == "shop-a-----.tar.gz"


def test_word_of_a_push() -> None:
    key = "SHA256:" + "a" * 43
    lines = [f"{ZERO} {ONE} refs/heads/a", f"{ONE} {TWO} refs/heads/é", f"{TWO} {ZERO} refs/tags/t", "nonsense"]
    found = parse_push("shop", "\n".join([f"by {key}", *lines, f"{ONE} {TWO} refs/heads/a b"]))
    assert found.by == key and found.changes == (
        Change("refs/heads/a", "", ONE),
        Change("refs/heads/é", ONE, TWO),
        Change("refs/tags/t", TWO, ""),
    )
    assert found.shown() == f"refs/heads/a {'1' * 12}, refs/heads/é {'1' * 12}..{'2' * 12}, refs/tags/t deleted"
    assert parse_push("shop", "by $(id)\n").by == ""


def test_word_of_a_push_that_nobody_could_have_left(tmp_path: Path) -> None:
    """Whoever has no repository tells nothing; a link is not followed; all is gone afterwards."""
    paths = Paths(base=tmp_path)
    folder = tmp_path / "git/.pushes"
    folder.mkdir(parents=True)
    (folder / "1").write_text(f"by me\n{ZERO} {ONE} refs/heads/a\n")
    (folder / "2").symlink_to("/etc/passwd")
    (folder / "3").mkdir()
    os.mkfifo(folder / "4")
    assert list(taken(paths)) == [] and list(folder.iterdir()) == []
