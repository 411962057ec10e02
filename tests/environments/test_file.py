"""The forms of an environment: what is accepted comes back byte for byte, what could not is refused."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.systemd_parsers import environment_file

from geard.environments.file import (
    NAME_LIMIT,
    TOTAL_LIMIT,
    VALUE_LIMIT,
    check_name,
    check_variable,
    check_variables,
    parse,
    parse_argument,
    parse_lines,
    render,
    render_for_systemd,
    render_lines,
    split_for_podman,
)
from geard.failures import Invalid


def _acceptable(variables: dict[str, str]) -> bool:
    try:
        check_variables(variables)
    except Invalid:
        return False
    return True


names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.-]{0,20}\Z")
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60) | st.text(
    "\"'\\`$#; \n\r\tab=", max_size=30
)
environments = st.dictionaries(names, values, max_size=6).filter(_acceptable)


@given(environments)
def test_the_file_on_disk_comes_back(variables: dict[str, str]) -> None:
    assert parse(render(variables)) == variables


@given(st.dictionaries(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,20}\Z"), values, max_size=6).filter(_acceptable))
def test_systemd_reads_the_file_as_we_do(variables: dict[str, str]) -> None:
    assert environment_file(render(variables)) == variables


@given(values.filter(lambda value: _acceptable({"A": value})))
def test_a_shell_reads_the_file_as_we_do(value: str) -> None:
    # shlex knows no backquote or dollar; inside "…" a shell drops the backslash before them, as before " and \
    text = render({"A": value}).removeprefix("A=").removesuffix("\n").replace("\\`", "`").replace("\\$", "$")
    assert shlex.split(text) == [value]


@given(environments)
def test_all_variables_reach_the_engine_one_way_or_the_other(variables: dict[str, str]) -> None:
    plain, others = split_for_podman(variables)
    # podman --env-file: a line each, up to the first '='; a '#' at the beginning of a line is a comment,
    # and no name of ours begins so
    lines = plain.split("\n")
    assert lines.pop() == ""
    found = dict(line.split("=", 1) for line in lines)
    assert found | others == variables
    assert not found.keys() & others.keys()
    assert all(value[-1:] != "\r" and "\n" not in value for value in found.values())


@given(environments)
def test_what_goes_through_podmans_own_environment_passes_systemds_parser(variables: dict[str, str]) -> None:
    _, others = split_for_podman(variables)
    found = environment_file(render_for_systemd(others, ["--env-file=/run/x y", *(f"--env={n}" for n in others)]))
    options = found.pop("GEAR_ENV")
    assert found == dict(others.items())
    assert shlex.split(options) == ["--env-file=/run/x y", *(f"--env={name}" for name in others)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("A=b", {"A": "b"}),
        ("A=b=c", {"A": "b=c"}),
        ("A=", {"A": ""}),
        ("  A=b", {"A": "b"}),
        ("A=\"'B  '\"", {"A": "'B  '"}),
        ("A='BC'", {"A": "'BC'"}),
        ('A="b c"', {"A": "b c"}),
        ("A=`b c`", {"A": "b c"}),
        ('A="a\\nb"', {"A": "a\nb"}),
        ('A="a\\"b"', {"A": 'a"b'}),
        ('QUOTED=\\"foo\\"', {"QUOTED": '\\"foo\\"'}),
        ('A="b', {"A": '"b'}),
        ('A=b"', {"A": 'b"'}),
        ('A="b"c"', {"A": '"b"c"'}),
        ('A=" b "', {"A": " b "}),
        ("A=  b  ", {"A": "b"}),
        ("A", {}),
        ("", {}),
        ("# A=b", {}),
        ("#A=b", {}),
    ],
)
def test_a_line_of_an_environment_file(line: str, found: dict[str, str]) -> None:
    assert parse_lines(line) == found


@given(environments)
def test_what_is_shown_can_be_given_again(variables: dict[str, str]) -> None:
    """`gear env NAME >file`, then `--env-file file`."""
    complaints: list[str] = []
    assert parse_lines(render_lines(variables) + "\n", complaints) == variables
    assert complaints == []


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain = $x %n \\ ü", "A=plain = $x %n \\ ü"),
        ("", "A="),
        (" blanks ", 'A=" blanks "'),
        ("two\nlines\r", 'A="two\\nlines\\r"'),
        ('"quoted"', 'A="\\"quoted\\""'),
        ("'quoted'", "A='quoted'"),
        ("`quoted`", 'A="`quoted`"'),
    ],
)
def test_only_what_must_be_is_quoted(value: str, line: str) -> None:
    assert render_lines({"A": value}) == line


@pytest.mark.parametrize("line", ["=b", "A =b", "A B=c", "1A=b", "ä=b", "a\x7f=b"])
def test_a_line_with_an_impossible_name_is_passed_over_and_told(line: str) -> None:
    complaints: list[str] = []
    assert parse_lines(f"{line}\nGOOD=1\n", complaints) == {"GOOD": "1"}
    assert len(complaints) == 1


def test_the_last_of_two_lines_for_one_name_holds() -> None:
    assert parse_lines("A=1\r\nB=2\nA=3") == {"A": "3", "B": "2"}


@pytest.mark.parametrize("between", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_a_newline_ends_a_line(between: str) -> None:
    """What str.splitlines takes for more line ends is text: a value with it arrives as it is."""
    assert parse_lines(f"A=one{between}B=two\n") == {"A": f"one{between}B=two"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=plain\n", {"A": "plain"}),
        ("A='single # quoted'\n", {"A": "single # quoted"}),
        ("# A=1\n; B=2\nC=3\n", {"C": "3"}),
        ('A="two\nlines"\nB=1', {"A": "two\nlines", "B": "1"}),
        ('A="open\nB=1\n', {"A": '"open', "B": "1"}),
        ("A = spaced \n", {"A": "spaced"}),
        ("A=\n", {"A": ""}),
        ("A", {}),
        ("", {}),
    ],
)
def test_a_file_that_an_admin_wrote_into(text: str, found: dict[str, str]) -> None:
    assert parse(text) == found


@given(st.text(max_size=80))
def test_whatever_stands_in_a_file_is_read(text: str) -> None:
    parse(text)
    parse_lines(text, [])


@pytest.mark.parametrize(
    ("argument", "pair"),
    [
        ("A=b", ("A", "b")),
        ("A=", ("A", "")),
        ("A=b=c", ("A", "b=c")),
        (' A=" b "', ("A", '" b "')),
        ("A=\n", ("A", "\n")),
    ],
)
def test_an_argument_is_taken_as_the_shell_left_it(argument: str, pair: tuple[str, str]) -> None:
    assert parse_argument(argument) == pair


@pytest.mark.parametrize("argument", ["A", "=b", "A =b", "1=b", "a b=c", "A=\0", "A=\ud800", "A=\ufffe"])
def test_no_argument(argument: str) -> None:
    with pytest.raises(Invalid):
        parse_argument(argument)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=", "Ä", "-A", ".A", "A\n", "A" * (NAME_LIMIT + 1)])
def test_no_name(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)


@pytest.mark.parametrize(
    "value", ["\0", "a\ud800", "\udfff", "\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"]
)
def test_no_value(value: str) -> None:
    with pytest.raises(Invalid):
        check_variable("A", value)


def test_values_and_whole_environments_have_limits_in_bytes() -> None:
    check_variable("A", "x" * VALUE_LIMIT)
    with pytest.raises(Invalid):
        check_variable("A", "ä" * (VALUE_LIMIT // 2 + 1))
    few = {f"A{n}": "x" * 30_000 for n in range(TOTAL_LIMIT // 30_020)}
    check_variables(few)
    with pytest.raises(Invalid):
        check_variables({**few, "B": "x" * 30_000})


def test_a_name_that_no_shell_knows_has_one_line() -> None:
    """systemd passes over it in an EnvironmentFile=, by which values of several lines go."""
    for name in ("A.b", "A-b"):
        check_variable(name, "one line")
        for value in ("two\nlines", "end\r"):
            with pytest.raises(Invalid, match="several lines"):
                check_variable(name, value)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "XDG_RUNTIME_DIR", "CONTAINERS_CONF", "CONTAINER_HOST"),
        *(
            "GODEBUG",
            "GOMAXPROCS",
            "GOTRACEBACK",
            "NOTIFY_SOCKET",
            "http_proxy",
            "HTTPS_PROXY",
            "no_proxy",
            "TMPDIR",
        ),
        *(
            "STORAGE_DRIVER",
            "STORAGE_OPTS",
            "REGISTRY_AUTH_FILE",
            "DBUS_SESSION_BUS_ADDRESS",
            "LISTEN_FDS",
            "MAINPID",
        ),
        *("GEAR_ENV", "GEAR_RUN", "SSL_CERT_FILE", "MALLOC_PERTURB_", "GLIBC_TUNABLES", "BASH_ENV", "TZ"),
    ],
)
def test_what_the_engine_would_obey_may_have_one_line_and_not_several(name: str) -> None:
    check_variable(name, "one line")
    with pytest.raises(Invalid):
        check_variable(name, "two\nlines")
    assert split_for_podman({name: "one line"}) == (f"{name}=one line\n", {})
