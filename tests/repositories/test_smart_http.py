"""What is understood of what git's clients ask by HTTP, and of the bodies that they send."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncGenerator, Iterable

import pytest

from geard.failures import Denied, Failure, Invalid, NotFound
from geard.repositories.over_http import PIECE, Wanted, parse_wanted, unpacked

LIST = "/git/shop/info/refs"
FETCH = {"service": "git-upload-pack"}
PUSH = {"service": "git-receive-pack"}


def typed(service: str) -> dict[str, str]:
    return {"content-type": f"application/x-{service}-request"}


def test_the_four_questions() -> None:
    asked = parse_wanted("GET", LIST, FETCH, {})
    assert asked == Wanted("shop", "git-upload-pack", True) and not asked.pushes
    assert asked.command == ("git", "upload-pack", "--strict", "--stateless-rpc", "--http-backend-info-refs")
    assert asked.first == b"001e# service=git-upload-pack\n0000"
    assert asked.type == "application/x-git-upload-pack-advertisement"
    asked = parse_wanted("GET", "/git/a.b-c_d.git/info/refs", PUSH, {})
    assert asked.name == "a.b-c_d.git" and asked.pushes and asked.first.startswith(b"001f# service")
    asked = parse_wanted("POST", "/git/shop/git-receive-pack", {}, typed("git-receive-pack"))
    assert asked.command == ("git", "receive-pack", "--stateless-rpc") and asked.first == b""
    assert asked.type == "application/x-git-receive-pack-result"
    assert not parse_wanted("POST", "/git/shop/git-upload-pack", {}, typed("git-upload-pack")).pushes


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("version=2", "version=2"),
        ("version=1", "version=1"),
        ("other:version=2:more", "version=2"),
        ("", ""),
        ("version=2x", ""),
        ("version=22", ""),
        ("$(id)", ""),
        ("version=3", ""),
    ],
)
def test_the_version_of_the_protocol(said: str, heard: str) -> None:
    assert parse_wanted("GET", LIST, FETCH, {"git-protocol": said}).protocol == heard


def test_version_2_has_no_line_before_it_and_a_push_no_version() -> None:
    assert parse_wanted("GET", LIST, FETCH, {"git-protocol": "version=2"}).first == b""
    assert parse_wanted("GET", LIST, PUSH, {"git-protocol": "version=2"}).first != b""


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "failure"),
    [
        ("GET", LIST, {}, {}, Denied),
        ("GET", "/git/shop/HEAD", {}, {}, Denied),
        ("GET", "/git/shop/objects/info/packs", {}, {}, Denied),
        ("GET", LIST, {"service": "git-upload-archive"}, {}, Denied),
        ("GET", LIST, {"service": "upload-pack"}, {}, Denied),
        ("GET", LIST, {"service": "git-upload-pack --help"}, {}, Denied),
        ("GET", LIST, {"service": "--upload-pack=id"}, {}, Denied),
        ("POST", LIST, FETCH, {}, Invalid),
        ("GET", "/git/shop/git-upload-pack", {}, typed("git-upload-pack"), Invalid),
        ("POST", "/git/shop/git-upload-pack", {}, {}, Invalid),
        ("POST", "/git/shop/git-receive-pack", {}, typed("git-upload-pack"), Invalid),
        ("POST", "/git/shop/git-upload-archive", {}, typed("git-upload-archive"), NotFound),
        ("GET", "/git/", {}, {}, NotFound),
        ("GET", "/git/shop", {}, {}, NotFound),
        ("GET", "/git/../etc/info/refs", FETCH, {}, NotFound),
        ("GET", "/git/a/b/info/refs", FETCH, {}, NotFound),
        ("GET", "/git/%2e%2e/info/refs", FETCH, {}, Failure),
        ("GET", "/git/shop%2f..%2fother/info/refs", FETCH, {}, Failure),
        ("GET", "/git/shop/info/refs\n", FETCH, {}, Failure),
        ("GET", "/git/é/info/refs", FETCH, {}, Failure),
    ],
)
def test_all_else_is_refused(
    method: str, path: str, query: dict[str, str], headers: dict[str, str], failure: type[Failure]
) -> None:
    with pytest.raises(failure):
        parse_wanted(method, path, query, headers)


async def _sent(pieces: Iterable[bytes]) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield piece


async def _became(pieces: Iterable[bytes], encoding: str) -> list[bytes]:
    return [piece async for piece in unpacked(_sent(pieces), encoding)]


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
async def test_a_body_in_gzip(cut: int) -> None:
    plain = os.urandom(10_000) + b"0" * (300_000)
    packed = gzip.compress(plain)
    assert b"".join(await _became([packed[at : at + cut] for at in range(0, len(packed), cut)], "gzip")) == plain
    assert await _became([b"0000"], "") == [b"0000"]


async def test_what_becomes_much_comes_in_pieces() -> None:
    pieces = await _became([gzip.compress(bytes(5_000_000))], "gzip")
    assert max(map(len, pieces)) <= PIECE and sum(map(len, pieces)) == 5_000_000


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"nonsense", "gzip"),
        (gzip.compress(b"x" * 1_000)[:-9], "gzip"),
        (b"", "gzip"),
        (b"x", "br"),
        (b"x", "a, b"),
    ],
)
async def test_a_body_that_is_none(body: bytes, encoding: str) -> None:
    with pytest.raises(Invalid):
        await _became([body], encoding)
