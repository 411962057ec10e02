"""What a token of each scope may ask: every route, and what must not come out to those who may only read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.daemon.afar import Afar, agent_afar

from geard import catalog
from geard.daemon.table import Entry, entries
from geard.dispatch.operation import all_operations
from geard.request import SCOPES

IMAGE = "docker.io/geard/sample"


@cache
def routes() -> list[Entry]:
    catalog.load()
    return [
        entry
        for entry in entries(all_operations())
        if entry.request.__module__.startswith("geard.") and entry.method == entry.route.method
    ]


def filled(entry: Entry, id: str) -> str:
    return entry.route.path.format(id=id, ref="main")


@pytest.fixture(scope="module")
def afar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Afar]:
    with agent_afar(tmp_path_factory.mktemp("afar")) as found:
        for scope in ("read", "operate", "admin"):
            tokens[scope] = found.token(scope, "--scope", scope)
        tokens["bounded"] = found.token("bounded", "--scope", "admin", "--only", "none-*")
        yield found


tokens: dict[str, str] = {}


@pytest.mark.parametrize("entry", routes(), ids=lambda entry: f"{entry.method} {entry.route.path}")
def test_a_route_is_open_to_its_scope_and_those_above_and_to_no_other(afar: Afar, entry: Entry) -> None:
    """A body that cannot be understood shows who came so far."""
    target = filled(entry, "web")
    for scope in ("read", "operate", "admin"):
        query = "?Nonsense=1" if entry.method in ("GET", "DELETE") else ""
        body = None if query else {"Nonsense": 1}
        status = afar.ask(entry.method, target + query, body, token=tokens[scope]).status
        if entry.route.scope in SCOPES[scope]:
            assert status not in (401, 403), scope
        else:
            assert status == 403, scope


@pytest.mark.parametrize(
    "entry",
    [each for each in routes() if each.route.reach != "shown"],
    ids=lambda entry: f"{entry.method} {entry.route.path}",
)
def test_who_is_bounded_to_other_ids_is_refused(afar: Afar, entry: Entry) -> None:
    example = {key: value for key, value in entry.request.example.items() if key != "Id"}
    body = None if entry.method in ("GET", "DELETE") else example
    target = filled(entry, "web") + ("?path=/etc" if "/file" in entry.route.path else "")
    reply = afar.ask(entry.method, target, body, token=tokens["bounded"])
    assert (reply.status, reply.json["Kind"]) == (403, "Denied")


def test_who_may_only_read_sees_no_value_of_variables_nor_of_commands(afar: Afar, tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    afar.root("install", IMAGE, "hidden", f"PASSWORD={secret}", "--", "serve", f"--key={secret}")
    afar.root("update", "hidden", "--", "serve", "--key=other")
    afar.root("secret", "create", "hidden-key", stdin=secret)
    asked, id = 0, json.loads(afar.ask("GET", "/requests", token=tokens["read"]).text)["Requests"][0]["Id"]
    for entry in routes():
        if entry.route.scope == "read" and not entry.route.mutates:
            path = filled(entry, id if entry.route.path.startswith("/request/") else "hidden")
            briefly = "?timeout=0" if path in ("/container/hidden/log", "/events") else ""
            reply = afar.ask("GET", path + briefly, token=tokens["read"])
            # A report is for who asked, nothing has woken that gear; of the others there is none.
            none = path.endswith(("/report", "/wake")) or path.startswith(
                ("/builds/", "/job/", "/timer/", "/repository/")
            )
            assert reply.status == (404 if none else 200), path
            assert secret not in reply.text, path
            asked += 1
    assert asked >= 5
    assert secret in afar.ask("GET", "/environment/hidden", token=tokens["operate"]).text
    assert secret in afar.ask("GET", "/container/hidden/versions", token=tokens["operate"]).text


def test_who_operates_enters_no_gear_that_has_more_than_they_might_have_given_it(afar: Afar) -> None:
    afar.root("install", IMAGE, "owned", "-v", "/:/host", "--start")
    afar.root("install", IMAGE, "plain", "--start")
    assert permitted(afar, "plain", "operate")
    assert permitted(afar, "owned", "admin")
    assert not permitted(afar, "owned", "operate")
    # nor by taking the mount away from what is installed, while what runs has it
    change: dict[str, object] = {"VolumeConfig": {}, "Later": True}
    assert afar.ask("PATCH", "/container/owned", change, token=tokens["operate"]).status == 200
    assert not permitted(afar, "owned", "operate")
    assert not permitted(afar, "owned", "read")


def permitted(afar: Afar, name: str, scope: str) -> bool:
    """Whether the answer is about anything else than who asks: on the other end of the line there is no podman."""
    line = afar.connect()
    body = '{"Command": ["id"]}'
    headers = {"Authorization": f"Bearer {tokens[scope]}", "Connection": "Upgrade", "Upgrade": "geard-session/1"}
    line.request("POST", f"/container/{name}/exec", body, headers)
    status = line.getresponse().status
    line.close()
    return status != 403


def test_a_repository_over_http_is_open_to_its_scope_and_to_no_other(afar: Afar) -> None:
    """What is behind these answers runs in the lab (test_git_http)."""
    for name in ("none-1", "shop"):
        (afar.host.paths.base / "git" / name).mkdir(parents=True)

    def asked(who: str, service: str = "upload", name: str = "shop") -> int:
        return afar.ask("GET", f"/git/{name}/info/refs?service=git-{service}-pack", token=tokens[who]).status

    assert asked("read", "receive") == asked("bounded") == asked("bounded", name="nosuch") == 403
    assert asked("bounded", "receive", "shop.git") == 403
    # let in: and then there is no container to run git in, or no such repository
    assert asked("read") == asked("operate", "receive") == asked("bounded", name="none-1.git") == 503
    assert asked("read", name="nosuch") == asked("bounded", name="none-2") == 404
    # git says its language, as browsers do
    listed = "/git/shop/info/refs?service=git-upload-pack"
    named = afar.ask(
        "GET", listed, token=tokens["read"], Host="h1.example.com:43273", Accept_Language="C, *;q=0.9"
    )
    assert named.status == 503
    assert afar.ask("GET", listed, token=tokens["read"], Origin="https://example.com").status == 403
    refused = afar.ask("GET", listed)
    assert refused.status == 401 and refused.headers["WWW-Authenticate"].startswith("Basic ")
    assert "takes a certificate" in refused.text
