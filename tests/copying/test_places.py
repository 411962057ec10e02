"""What the words of `gear cp` mean."""

from __future__ import annotations

import pytest

from geard.copying.places import Goal, Side, parse_side, plan_goal
from geard.failures import Conflict, Failure, Invalid, NotFound
from geard.identifiers import Locator, Place


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("web:/data", Side("/data", Locator("web"))),
        ("web:data/x", Side("/data/x", Locator("web"))),
        ("web:/a:b", Side("/a:b", Locator("web"))),
        ("h1/web:/data", Side("/data", Locator("web", Place("h1")))),
        ("h1:4711/web:/data/", Side("/data/", Locator("web", Place("h1", 4711)))),
        ("[::1]/web:/data", Side("/data", Locator("web", Place("[::1]")))),
        ("[::1]:4711/web:/data", Side("/data", Locator("web", Place("[::1]", 4711)))),
        ("/srv/web:/data", Side("/srv/web:/data")),
        ("./web:/data", Side("./web:/data")),
        ("data", Side("data")),
        ("a/b/c:d", Side("a/b/c:d")),
        ("-", Side("")),
    ],
)
def test_a_side(text: str, side: Side) -> None:
    assert parse_side(text) == side


@pytest.mark.parametrize("text", ["", "web:", "we b:/x", "h1/w..b:/x", "a\0b"])
def test_what_is_no_side(text: str) -> None:
    with pytest.raises(Invalid):
        parse_side(text)


WEB = Locator("web")


@pytest.mark.parametrize(
    ("source", "target", "kind", "goal"),
    [
        ("/a/f", "/data", "folder", Goal("/data", "f")),
        ("/a/f/", "/data/", "folder", Goal("/data/", "f")),
        ("/a/.", "/data", "folder", Goal("/data", ".")),
        ("/a/f", "/data/new", None, Goal("/data", "new")),
        ("/a/.", "/data/new", None, Goal("/data", "new")),
        ("/a/f", "/new", None, Goal("/", "new")),
        ("/a/f", "/data/old", "file", Goal("/data", "old")),
    ],
)
def test_a_goal(source: str, target: str, kind: str | None, goal: Goal) -> None:
    assert plan_goal(Side(source), Side(target, WEB), kind) == goal


@pytest.mark.parametrize(
    ("source", "target", "kind", "failure"),
    [
        ("/a/f", "/data/new/", None, NotFound),
        ("/a/f", "/data/old/", "file", NotFound),
        ("/a/.", "/data/old", "file", Conflict),
    ],
)
def test_no_goal(source: str, target: str, kind: str | None, failure: type[Failure]) -> None:
    with pytest.raises(failure):
        plan_goal(Side(source), Side(target, WEB), kind)
