"""How a repository's requests are asked over HTTP: a ref with slashes, a source in the query, a file as it is."""

from __future__ import annotations

import pytest

from geard.daemon.forms import FileLines
from geard.daemon.table import Table
from geard.failures import NotFound, Unavailable
from geard.repositories.requests import ArchiveRepository, CreateRepository
from geard.request import Piece
from geard.transport.wire import parse, write


@pytest.mark.parametrize(
    ("path", "ref"), [("master", "master"), ("a/b/c", "a/b/c"), ("a%2Fb", "a/b"), ("%C3%A9/x", "é/x")]
)
def test_a_ref_may_hold_slashes(path: str, ref: str) -> None:
    entry, values = Table([ArchiveRepository]).find("GET", f"/repository/shop/archive/{path}")
    assert entry.request is ArchiveRepository and values == {"id": "shop", "ref": ref}
    call = write(ArchiveRepository(id="shop", ref=ref))
    assert Table([ArchiveRepository]).find("GET", call.target)[1] == values


def test_no_ref_is_none() -> None:
    for path in ("/repository/shop/archive", "/repository/shop/other/a/b"):
        with pytest.raises(NotFound):
            Table([ArchiveRepository]).find("GET", path)


def test_a_source_stands_in_the_query_or_in_the_body() -> None:
    wanted = CreateRepository(id="shop", source="https://example.com/x")
    assert parse(CreateRepository, {"id": "shop"}, {"source": wanted.source}, b"") == wanted
    assert parse(CreateRepository, {"id": "shop"}, {}, b'{"Source": "https://example.com/x"}') == wanted
    assert parse(CreateRepository, {"id": "shop"}, {"other": "x"}, b"") == CreateRepository(id="shop")


def test_who_is_bounded_names_what_it_is_copied_from() -> None:
    assert CreateRepository(id="a1", source="b1").names() == ("a1", "b1")
    assert CreateRepository(id="a1", source="repo://b1").names() == ("a1", "b1")
    assert CreateRepository(id="a1", source="/var/lib/containers/git/b1").names() == ("a1", "b1")
    assert CreateRepository(id="a1", source="https://example.com/x").names() == ("a1",)


def test_a_file_that_cannot_be_ended_is_cut_off() -> None:
    lines = FileLines(Piece(data=b"PK", type="application/zip"))
    assert (lines.type, lines.item(Piece(data=b"\0\xff")), lines.beat()) == ("application/zip", b"\0\xff", b"")
    with pytest.raises(ConnectionError):
        lines.failure(Unavailable("gone"))
