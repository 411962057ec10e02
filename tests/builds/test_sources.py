"""Forms of SOURCE, and those that are refused."""

from __future__ import annotations

import pytest

from geard.builds.sources import Source, parse_source
from geard.failures import Invalid


@pytest.mark.parametrize(
    ("text", "ref", "expected"),
    [
        ("git://github.com/pmorie/simple-html", "", Source("git", "git://github.com/pmorie/simple-html")),
        ("https://x.org/a/b.git#v1:web", "", Source("git", "https://x.org/a/b.git", "v1", "web")),
        ("https://x.org/a/b", "main", Source("git", "https://x.org/a/b", "main")),
        ("http://x.org/a.git", "", Source("git", "http://x.org/a.git")),
        ("ssh://git@x.org:2222/a.git", "", Source("git", "ssh://git@x.org:2222/a.git")),
        ("git@x.org:acme/a.git#main", "", Source("git", "git@x.org:acme/a.git", "main")),
        ("x.org:a.git", "", Source("git", "x.org:a.git")),
        ("repo://shop#:web", "", Source("hosted", "shop", "", "web")),
        ("repo://shop", "v1", Source("hosted", "shop", "v1")),
        ("https://x.org/a.tar.gz", "", Source("archive", "https://x.org/a.tar.gz")),
        ("/srv/app/", "", Source("local", "/srv/app")),
        ("/srv/app.tgz", "", Source("local", "/srv/app.tgz")),
        ("file:///srv/app", "", Source("local", "/srv/app")),
        ("file:///srv/app.git", "", Source("git", "/srv/app.git")),
        ("/srv/app#main:web", "", Source("git", "/srv/app", "main", "web")),
        ("/srv/app", "main", Source("git", "/srv/app", "main")),
        ("-", "", Source("input", "-")),
        ("sent://0a1b#:web", "", Source("sent", "0a1b", "", "web")),
    ],
)
def test_forms(text: str, ref: str, expected: Source) -> None:
    assert parse_source(text, ref) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "--upload-pack=touch /tmp/x",
        "-x",
        "ext::sh -c touch% /tmp/x",
        "fd::17",
        "https::x",
        "ftp://x.org/a.git",
        "https:///a",
        "https://-oProxyCommand=x/a",
        "https://me:secret@x.org/a",
        "ssh://-oProxyCommand=x/a.git",
        "git@-x:a.git",
        "git@x.org:-a.git",
        "a/b",
        "../a",
        "/srv/../etc",
        "/srv/a\nb",
        "https://x.org/a#-x",
        "https://x.org/a#a..b",
        "https://x.org/a#main:../b",
        "https://x.org/a#main:/b",
        "https://x.org/a.tar.gz#main",
        "repo://../etc",
        "repo://",
        "sent://../x",
        "sent://0a1b#main",
        " /srv",
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_source(text)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(Invalid) as raised:
        parse_source("https://me:secret@x.org/a")
    assert "secret" not in raised.value.message


def test_two_refs() -> None:
    with pytest.raises(Invalid, match="two refs"):
        parse_source("https://x.org/a#one", "two")
