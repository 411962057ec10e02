"""Both grammars that `switchns` had."""

from __future__ import annotations

import pytest

from geard.failures import Invalid
from geard.sessions.switchns import Wanted, parse_switchns


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("db-1 /bin/bash", Wanted("db-1", ("/bin/bash",))),
        ("db-1 -- /bin/bash", Wanted("db-1", ("/bin/bash",))),
        ("db-1 --env A=1 --env B=2 ls -l", Wanted("db-1", ("ls", "-l"), ("A=1", "B=2"))),
        ("db-1 --env A=1 -- ls --env X=1", Wanted("db-1", ("ls", "--env", "X=1"), ("A=1",))),
        ("--env A=1 db-1 ls", Wanted("db-1", ("ls",), ("A=1",))),
        ("db-1 ls -- x", Wanted("db-1", ("ls", "--", "x"))),
        ("db-1 -- -x", Wanted("db-1", ("-x",))),
        ("--container=db-1 -- ls", Wanted("db-1", ("ls",))),
        ("--container db-1 -- ls", Wanted("db-1", ("ls",))),
        (
            "--container=web --env A=1 --env=B=x=y -- env --container=z",
            Wanted("web", ("env", "--container=z"), ("A=1", "B=x=y")),
        ),
        ("--container=web ls", Wanted("web", ("ls",))),
        ("--env A=1 --container=web -- ls", Wanted("web", ("ls",), ("A=1",))),
    ],
)
def test_lines(line: str, wanted: Wanted) -> None:
    assert parse_switchns(line.split()) == wanted


@pytest.mark.parametrize(
    "line",
    [
        "",
        "db-1",
        "db-1 --",
        "-- ls",
        "--container=web",
        "--container=web --",
        "--container=web --container=db -- ls",
        "--container",
        "--git",
        "db-1 --git-ro",
        "db-1 --privileged ls",
        "db-1 --env",
    ],
)
def test_lines_that_mean_nothing(line: str) -> None:
    with pytest.raises(Invalid):
        parse_switchns(line.split())
