"""What `--secret` and the key `Secrets` may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard.failures import Invalid
from geard.secrets.requests import SecretUse
from geard.secrets.uses import check_uses, check_value, describe, parse_use


@pytest.mark.parametrize(
    ("text", "use", "shown"),
    [
        ("db", SecretUse(name="db"), "db -> /run/secrets/db"),
        ("db:", SecretUse(name="db"), "db -> /run/secrets/db"),
        ("db:/etc/my app/key", SecretUse(name="db", path="/etc/my app/key"), "db -> /etc/my app/key"),
        ("db:env=DB_PASSWORD", SecretUse(name="db", variable="DB_PASSWORD"), "db -> $DB_PASSWORD"),
        (
            "db:mode=0400,uid=1001",
            SecretUse(name="db", mode="0400", uid=1001),
            "db -> /run/secrets/db (0400 of 1001:0)",
        ),
        ("db:/key,gid=7", SecretUse(name="db", path="/key", gid=7), "db -> /key of 0:7"),
    ],
)
def test_what_it_may_say(text: str, use: SecretUse, shown: str) -> None:
    assert parse_use(text) == use
    assert describe(use) == shown


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "../x", "db:etc/key", "db:/", "db:/a/../b", "db:/a//b", "db:/a/", "db:/a\nb", "db:/a,/b",
        "db:env=", "db:env=1A", "db:env=A B", "db:env=A=B", "db:env=A,/key", "db:env=A,mode=0400",
        "db:env=A,uid=1", "db:mode=4755", "db:mode=999", "db:mode=", "db:uid=-1", "db:uid=65536", "db:uid=root",
        "db:uid=١", "db:uid=1,uid=2", "db:color=red", "db:env", "h1/db", "db:/\0", "db:/" + "x" * 300,
    ],
)  # fmt: skip
def test_what_it_may_not_say(text: str) -> None:
    with pytest.raises(Invalid):
        parse_use(text)


@given(st.text(max_size=40))
def test_any_other_text_is_refused_or_harmless(text: str) -> None:
    try:
        use = parse_use(f"db:{text}")
    except Invalid:
        return
    assert use.variable or use.target.startswith("/")
    assert ".." not in use.target.split("/") and "\n" not in use.target


@pytest.mark.parametrize(
    "uses",
    [
        [SecretUse(name="one", path="/key"), SecretUse(name="two", path="/key")],
        [SecretUse(name="one"), SecretUse(name="two", path="/run/secrets/one")],
        [SecretUse(name="one", path="/key/one"), SecretUse(name="two", path="/key")],
        [SecretUse(name="one", variable="A"), SecretUse(name="two", variable="A")],
        [SecretUse(name="db", path=f"/{n}") for n in range(101)],
    ],
)
def test_no_secret_takes_the_place_of_another(uses: list[SecretUse]) -> None:
    with pytest.raises(Invalid):
        check_uses(uses)


def test_one_secret_may_be_given_several_ways() -> None:
    check_uses([SecretUse(name="db"), SecretUse(name="db", path="/key"), SecretUse(name="db", variable="A")])


def test_a_value_has_one_byte_at_least_and_65536_at_most() -> None:
    check_value(b"\0")
    check_value(b"x" * 65_536)
    for value in (b"", b"x" * 65_537):
        with pytest.raises(Invalid):
            check_value(value)
