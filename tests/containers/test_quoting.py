"""Words through systemd's two parsers, as its manual pages have them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.systemd_parsers import environment_file, split_variable

from geard.containers.quoting import LIMIT, check_text, quote_word, render_words
from geard.failures import Invalid


def carries(text: str) -> bool:
    try:
        check_text(text, "a word")
    except Invalid:
        return False
    return True


words = st.text(st.characters(codec="utf-8"), max_size=40).filter(carries) | st.text(
    "\"'\\`$%# \n\r\t{}a;=", max_size=25
)


@given(st.lists(words, max_size=8))
@example([""])
@example(["", ""])
@example(["\\", '"', "'", "`", "$HOME", "${GEAR}", "%N", "a\nb", " ", "\\\\", '\\"', "#x", ";"])
def test_words_arrive(given_words: list[str]) -> None:
    found = environment_file(render_words("GEAR_RUN", given_words))
    assert split_variable(found["GEAR_RUN"]) == given_words


@pytest.mark.parametrize("word", ["--name", "ctr-web", "8080:4000/tcp", "a=b,c@d+e", "/usr/bin/x_y.z"])
def test_plain_words_stay_readable(word: str) -> None:
    assert quote_word(word) == word


NONCHARACTERS = [chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF)]


@pytest.mark.parametrize("bad", ["\0", *map(chr, (0xD800, 0xDFFF, 0xFDD0, 0xFDEF)), *NONCHARACTERS])
def test_what_cannot_pass_is_refused(bad: str) -> None:
    with pytest.raises(Invalid, match="a word cannot be carried"):
        check_text(f"a{bad}b", "a word")


@pytest.mark.parametrize(
    "good", ["\x01", "\x7f", "\ue000", "\ufdcf", "\ufdf0", "\ufffd", "\U0010fffd", "😀", "\x85", "\u2028"]
)
def test_what_looks_alike_passes(good: str) -> None:
    check_text(good, "a word")


def test_more_than_the_kernel_takes_is_refused() -> None:
    render_words("GEAR_RUN", ["x" * LIMIT])
    for long in (["x" * (LIMIT + 1)], ["ä" * LIMIT], ["\\" * (LIMIT // 3)]):
        with pytest.raises(Invalid):
            render_words("GEAR_RUN", long)
    assert LIMIT + len('GEAR_RUN=""') < 128 * 1024
