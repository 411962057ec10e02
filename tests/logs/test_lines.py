from __future__ import annotations

import json
from datetime import timedelta, timezone

import pytest

from geard.logs.lines import calm, json_line, local_time, render_line, render_time


def test_a_line_has_time_program_and_message() -> None:
    line = render_line("2026-11-23T19:43:46.123456+00:00", "nginx", 123, "GET /")
    assert line == "2026-11-23T19:43:46.123456+00:00 nginx[123]: GET /"


def test_what_is_not_known_is_left_out() -> None:
    assert render_line("T", "", 0, "hello") == "T hello"
    assert render_line("T", "systemd", 0, "hello") == "T systemd: hello"


def test_further_lines_stand_below_the_first() -> None:
    assert render_line("T", "java", 1, "Exception\n\tat A\n\tat B") == (
        "T java[1]: Exception\n           \tat A\n           \tat B"
    )


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("plain", "plain"),
        ("a\tb", "a\tb"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
        ("\x9b2J", "\\x9b2J"),
        ("over\rwritten", "over\\rwritten"),
        ("from Windows\r\n", "from Windows"),
        ("\u202eevil", "\\u202eevil"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("naïve 日本語 👩‍🚀", "naïve 日本語 👩‍🚀"),
    ],
)
def test_nothing_acts_on_a_terminal(message: str, shown: str) -> None:
    assert calm(message) == shown


def test_a_programs_name_is_not_trusted_either() -> None:
    assert render_line("T", "\x1b[2Jx", 1, "m") == "T \\x1b[2Jx[1]: m"


def test_times_have_microseconds_always() -> None:
    assert render_time(1_700_000_000_000_000) == "2023-11-14T22:13:20.000000+00:00"
    assert render_time(1_700_000_000_000_007) == "2023-11-14T22:13:20.000007+00:00"


def test_people_read_the_time_of_where_they_are() -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    assert local_time("2023-11-14T22:13:20.123456+00:00", there) == "2023-11-15T03:43:20.123+05:30"


def test_json_is_one_line_and_calm_on_a_terminal() -> None:
    values = {"Message": "ä\n\x1b[2J\x9b\x7f"}
    for for_terminal in (True, False):
        line = json_line(values, for_terminal=for_terminal)
        assert json.loads(line) == values
        assert "\n" not in line
    assert json_line(values, for_terminal=True) == '{"Message": "ä\\n\\u001b[2J\\u009b\\u007f"}'
