"""Names that cross a line: what may be one, and that its text form comes back as the same value."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.failures import Invalid
from geard.identifiers import (
    LOCAL,
    Locator,
    Place,
    check_id,
    login_name,
    new_request_id,
    parse_locator,
    parse_place,
    parse_request_id,
)

ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{1,63}\Z").filter(lambda id: ".." not in id)
hosts = st.one_of(
    st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9_.-]{0,30}[A-Za-z0-9])?\Z").filter(lambda host: host != "local"),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)
places = st.one_of(st.just(LOCAL), st.builds(Place, hosts, st.integers(1, 65_535)))


@pytest.mark.parametrize("id", ["ab", "my-sample-service.1", "web-1", "a" * 64, "0123456789abcdef" * 2, "A_b.c-d"])
def test_an_id(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize(
    "id",
    [
        "",
        "a",
        "a" * 65,
        ".ab",
        "-ab",
        "_ab",
        "a..b",
        "a/b",
        "a b",
        "ab\n",
        "a\0b",
        "äb",
        "a:b",
        "a%2fb",
        "../etc",
        "٣٣",
    ],
)
def test_no_id(id: str) -> None:
    with pytest.raises(Invalid):
        check_id(id)


@given(st.text(max_size=70))
def test_no_id_leads_out_of_a_folder_or_breaks_a_line(text: str) -> None:
    try:
        check_id(text)
    except Invalid:
        return
    assert re.fullmatch("[A-Za-z0-9._-]+", text)
    assert not text.startswith((".", "-"))
    assert ".." not in text


@given(ids, ids)
def test_logins_are_short_and_each_gear_has_its_own(one: str, other: str) -> None:
    assert len(login_name(one)) <= 31
    assert (login_name(one) == login_name(other)) == (one == other)


def test_a_long_name_has_a_login_that_no_short_one_can_have() -> None:
    assert login_name("web") == "ctr-web"
    assert login_name("a" * 27) == "ctr-" + "a" * 27
    assert login_name("a" * 28).startswith("ctr--")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", LOCAL),
        ("local", LOCAL),
        ("localhost", Place("localhost")),
        ("h1", Place("h1", 43273)),
        ("h1:", Place("h1", 43273)),
        ("h1:80", Place("h1", 80)),
        ("10.0.0.1:2223", Place("10.0.0.1", 2223)),
        ("[::1]", Place("[::1]")),
        ("[fd00::1]:80", Place("[fd00::1]", 80)),
    ],
)
def test_a_place(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        *("h1:0", "h1:65536", "h1:x", "h1:-1", "h1:+1", "h1: 1", "h1:٣", "h1/a", "h 1", "-h", "h-", "::1", "[::1"),
        *("[::1]x", "[::1]80", "[]", "h1:1:2", "user@h1", "h1?x", "h1#x", "http://h1", "h\n"),
    ],
)
def test_no_place(text: str) -> None:
    with pytest.raises(Invalid):
        parse_place(text)


@given(places)
def test_a_place_comes_back(place: Place) -> None:
    assert parse_place(str(place)) == place


@pytest.mark.parametrize(
    ("text", "locator"),
    [
        ("web", Locator("web")),
        ("ctr://web", Locator("web")),
        ("repo://h1/code", Locator("code", Place("h1"), "repo")),
        ("h1/web", Locator("web", Place("h1"))),
        ("h1:80/web", Locator("web", Place("h1", 80))),
        ("local/web", Locator("web")),
        ("localhost/web", Locator("web", Place("localhost"))),
        ("ctr://[::1]:80/my-sample-service.1", Locator("my-sample-service.1", Place("[::1]", 80))),
    ],
)
def test_a_locator(text: str, locator: Locator) -> None:
    assert parse_locator(text) == locator


@pytest.mark.parametrize("text", ["", "/web", "h1/", "h1/a/b", "ctr://", "x://web", "h1:0/web", "://web", "h1/w"])
def test_no_locator(text: str) -> None:
    with pytest.raises(Invalid):
        parse_locator(text)


@given(ids, places)
def test_a_locator_comes_back(id: str, place: Place) -> None:
    locator = Locator(id, place)
    assert parse_locator(str(locator)) == locator


@given(st.binary(min_size=16, max_size=16))
def test_the_spellings_of_a_request_id_are_one_id(raw: bytes) -> None:
    short = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    for text in (short, f"{short}==", raw.hex(), raw.hex().upper()):
        assert parse_request_id(text) == short


@given(st.from_regex(r"\A[A-Za-z0-9_-]{22}\Z"))
def test_a_request_id_comes_back_as_itself(text: str) -> None:
    once = parse_request_id(text)
    assert parse_request_id(once) == once
    assert re.fullmatch("[A-Za-z0-9_-]{22}", once)


@pytest.mark.parametrize(
    "text",
    ["", "a" * 21, "a" * 23, "g" * 32, "a" * 31, "a" * 22 + "=", "a/b" + "a" * 19, "a" * 22 + "\n", "٣" * 32],
)
def test_no_request_id(text: str) -> None:
    with pytest.raises(Invalid):
        parse_request_id(text)


def test_new_request_ids_differ_and_are_no_option() -> None:
    made = {new_request_id() for _ in range(500)}
    assert len(made) == 500
    assert all(parse_request_id(id) == id and not id.startswith("-") for id in made)
