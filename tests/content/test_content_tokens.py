"""Links that stand for one request: who may make them, what they do, and when they do no more."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from unittest import mock

import pytest
from click.shell_completion import ShellComplete
from tests.fakes.host import FakeHost, make_host
from tests.fakes.terminal import Terminal, agent, terminal

from geard.cli import main as cli
from geard.content import entrance, keys, sealing, spent
from geard.content.operations import create_content_token
from geard.content.requests import CreateContentToken
from geard.daemon import body
from geard.daemon.doors import Doors
from geard.dispatch.work import Work
from geard.failures import Denied, Failure, Unauthenticated
from geard.request import SCOPES, Asker

ENV = 'A="secret-value"\nB="2"\n'
LOCAL = "http://localhost:43273"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    tmp_path.chmod(0o755)
    return make_host(tmp_path / "host")


@pytest.fixture
def gear(host: FakeHost) -> Generator[Terminal]:
    """On a machine with an agent, and an environment with one variable."""
    with terminal(host.folder, "http", host) as found:
        found.ok("set-env", "web", "A=secret-value")
        yield found


class Holder:
    """Somebody with nothing but a link; the agent's doors let them in for nothing else."""

    def __init__(self, host: FakeHost) -> None:
        self._socket = str(host.folder / "geard.sock")

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> tuple[int, str]:
        response = self.response(path, method, body, **headers)
        return response.status, response.read().decode()

    def response(self, path: str, method: str, body: str = "", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(20)
        connection.sock.connect(self._socket)
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            method, path.removeprefix(LOCAL), body=body or None, headers={"Connection": "close", **told}
        )
        return connection.getresponse()


@pytest.fixture
def holder(host: FakeHost, gear: Terminal) -> Holder:
    return Holder(host)


@pytest.fixture
def strangers() -> Generator[Callable[[], None]]:
    """Called: whoever connects from now on is nobody whom the agent knows."""
    with ExitStack() as stack:

        def shut() -> None:
            refused = Denied("you may not use this agent")
            stack.enter_context(mock.patch.object(Doors, "asker", side_effect=refused))

        yield shut


def link(gear: Terminal, *words: str) -> str:
    found = gear.ok("content-token", *words).strip()
    assert found.startswith(f"{LOCAL}/token/")
    return found


# --- what they do


def test_a_link_shows_one_thing_to_whoever_holds_it(
    gear: Terminal, holder: Holder, strangers: Callable[[], None]
) -> None:
    found = link(gear, "env", "web")
    assert "secret-value" not in found and "environment" not in found
    strangers()
    assert holder.ask("/environment/web")[0] == 403
    for path in (found, found, f"{found}/web.env"):
        assert holder.ask(path) == (200, "A=secret-value\n")
    response = holder.response(found, "GET")
    assert (response.headers["Cache-Control"], response.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert json.loads(holder.ask(found, Accept="application/json")[1])["Id"] == "web"


def test_a_link_made_without_the_agent_is_opened_by_it(host: FakeHost) -> None:
    with terminal(host.folder, "local", host) as gear:
        gear.ok("set-env", "web", "A=1")
        found = link(gear, "env", "web")
    with agent(host, host.folder):
        assert Holder(host).ask(found) == (200, "A=1\n")


def test_a_link_that_changes_something_works_once(
    gear: Terminal, holder: Holder, strangers: Callable[[], None]
) -> None:
    body = json.dumps({"Variables": [{"Name": "B", "Value": "2"}]})
    found = link(gear, "PATCH", "/environment/web", "-d", body)
    strangers()
    status, text = holder.ask(found)
    assert status == 405 and "it takes PATCH, POST" in text, "what only looks at links must not use them up"
    assert holder.ask(found, "POST")[0] == 200
    for method in ("POST", "PATCH"):
        status, text = holder.ask(found, method)
        assert status == 403 and "works once" in text
    assert gear.host.paths.base.joinpath("env/contents/we/web").read_text() == ENV


def test_of_many_at_once_one_gets_through(gear: Terminal, holder: Holder) -> None:
    gear.ok("install", "geard/sample", "web")
    found = link(gear, "start", "web")
    with ThreadPoolExecutor(8, thread_name_prefix="ThreadPoolExecutor") as pool:
        answers = list(pool.map(holder.ask, [found] * 8, ["POST"] * 8))
    statuses = [status for status, _ in answers]
    assert sorted(statuses) == [200] + [403] * 7


def test_a_change_is_done_by_the_id_that_its_maker_was_told(gear: Terminal, holder: Holder) -> None:
    made = json.loads(gear.ok("content-token", "DELETE", "/environment/web", "-o", "json"))
    assert made["Once"] is True and made["Url"] == LOCAL + made["Path"]
    response = holder.response(made["Path"], "POST", X_Request_Id="A" * 22)
    response.read()
    assert response.headers["X-Request-Id"] == made["RequestId"]


def test_a_query_is_sealed_too(gear: Terminal, holder: Holder) -> None:
    gear.ok("install", "geard/sample", "web")
    everything, loaded = link(gear, "GET", "/containers?all=1"), link(gear, "GET", "/containers")
    assert "web" in holder.ask(everything)[1] and "web" not in holder.ask(loaded)[1]


def test_the_line_of_the_original_makes_one(gear: Terminal, holder: Holder) -> None:
    expires = str(int(time.time()) + 600)
    words = ("create-token", "--key-path", "/etc/geard/keys", "GET?/environment/web?#", "--expires-at", expires)
    assert holder.ask(gear.ok(*words).strip()) == (200, "A=secret-value\n")


@pytest.mark.parametrize("beside", [{"query": "?follow=true"}, {"body": "{}"}, {"Callback": "https://a.example"}])
def test_nothing_can_be_said_beside_a_link(gear: Terminal, holder: Holder, beside: dict[str, str]) -> None:
    found = link(gear, "DELETE", "/environment/web")
    more = {key: value for key, value in beside.items() if key == "Callback"}
    status, text = holder.ask(found + beside.get("query", ""), "POST", beside.get("body", ""), **more)
    assert status == 400 and "a link says all of its request" in text
    assert holder.ask(found, "POST")[0] == 200, "it was not used up"


def test_a_body_that_is_announced_and_does_not_come_is_not_waited_for(
    gear: Terminal, host: FakeHost, holder: Holder
) -> None:
    found = link(gear, "DELETE", "/environment/web")
    head = f"POST {found.removeprefix(LOCAL)} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with mock.patch.object(body, "BODY_SECONDS", 0.05), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(20)
        line.connect(str(host.folder / "geard.sock"))
        line.sendall(head.encode())
        assert line.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert holder.ask(found, "POST")[0] == 200, "it was not used up"


# --- when they do no more


def test_a_link_expires(gear: Terminal, holder: Holder) -> None:
    found = link(gear, "env", "web", "--expires", "1s")
    time.sleep(1.1)
    status, text = holder.ask(found)
    assert status == 403 and "this link expired at" in text


def test_a_stream_ends_when_its_link_expires(gear: Terminal, holder: Holder) -> None:
    gear.ok("install", "geard/sample", "web", "--start")
    words = ("GET", "/container/web/log?follow=true", "--expires", "4s", "-o", "json")
    made = json.loads(gear.ok("content-token", *words))
    assert holder.ask(made["Path"])[0] == 200, "and it has ended"
    assert time.time() >= datetime.fromisoformat(made["Expires"]).timestamp(), "not by itself"


@pytest.mark.parametrize("words", [("--expires", "2d"), ("--expires", "0s"), ("--expires", "soon")])
def test_a_link_works_for_a_day_at_most(gear: Terminal, words: tuple[str, ...]) -> None:
    assert gear("content-token", "env", "web", *words).code == 64
    assert gear("content-token", "env", "web", "--expires-at", str(int(time.time()) + 90_000)).code == 64


def test_a_clock_put_back_gives_no_link_a_longer_life(host: FakeHost) -> None:
    check = entrance._check_time  # pyright: ignore[reportPrivateUsage]
    check(1_000_000, 999_999)
    for now in (1_000_000, 1_000_000 - 2 * 86_400):
        with pytest.raises(Denied, match="expired"):
            check(1_000_000, now)


def test_all_links_are_revoked_at_once(gear: Terminal, holder: Holder) -> None:
    found = link(gear, "env", "web")
    gear.ok("revoke-content-tokens")
    status, text = holder.ask(found)
    assert status == 401 and "was revoked" in text
    assert holder.ask(link(gear, "env", "web"))[0] == 200


def test_a_link_is_worth_no_more_than_its_maker_is_when_it_is_used(gear: Terminal, holder: Holder) -> None:
    maker = sealing.Maker(name="uid 1000 (alice)", scopes=("operate", "read"), uid=1000)
    sealed = sealing.Sealed(method="GET", path="/environment/web", expires=time.time() + 60, maker=maker)
    found = f"/token/{sealing.seal(gear.host.paths, sealed)}"
    with mock.patch.object(entrance, "_in_group", return_value=True):
        assert holder.ask(found)[0] == 200
    with mock.patch.object(entrance, "_in_group", return_value=False):
        status, text = holder.ask(found)
        assert status == 403 and "uid 1000 (alice), who made this link, may not ask" in text
    reader = sealing.Maker(name="uid 0 (root)", scopes=("read",), uid=0)
    sealed = sealing.Sealed(method="GET", path="/environment/web", expires=time.time() + 60, maker=reader)
    assert holder.ask(f"/token/{sealing.seal(gear.host.paths, sealed)}")[0] == 403, "more than was held when made"


def test_who_is_in_the_group_at_this_moment() -> None:
    in_group = entrance._in_group  # pyright: ignore[reportPrivateUsage]
    own = mock.Mock(gr_gid=os.getgid())
    with mock.patch("grp.getgrnam", return_value=own):
        assert in_group(os.getuid())
    with mock.patch("grp.getgrnam", return_value=mock.Mock(gr_gid=4_000_000)):
        assert not in_group(os.getuid())
    assert not in_group(4_000_000)


def test_what_is_no_link_is_told_so_in_one_way(gear: Terminal, holder: Holder) -> None:
    found = link(gear, "env", "web").removeprefix(LOCAL)
    sealed = found.removeprefix("/token/")
    others = [
        found[:-1],
        found + "A",
        found + "=",
        "/token/A",
        "/token/~~~~",
        "/token/" + "A" * 7_000,
        "/token//x",
    ]
    others += [
        f"/token/{sealed[:at]}{'A' if sealed[at] != 'A' else 'B'}{sealed[at + 1 :]}"
        for at in range(0, len(sealed), 7)
    ]
    answers = [holder.ask(path) for path in others]
    told = {(status, json.loads(text)["Message"]) for status, text in answers}
    assert told == {(401, "this link is none of this machine's, or was revoked")}
    assert holder.ask(found)[0] == 200


def test_a_link_has_one_spelling(host: FakeHost) -> None:
    """Two spellings of the same bytes would be two links: one could be used after the other."""
    maker = sealing.Maker(name="root", scopes=(), uid=0)
    for length in range(3):
        text = sealing.seal(
            host.paths, sealing.Sealed(method="GET", path="/x", expires=0, maker=maker, query="q" * length)
        )
        assert sealing.unseal(host.paths, text).query == "q" * length
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/"
        for spelt in {text + "=", text + "==", *(text[:-1] + char for char in alphabet)} - {text}:
            with pytest.raises(Unauthenticated):
                sealing.unseal(host.paths, spelt)
        assert raw[:1] == b"\x01"


# --- who may make them, of what


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("GET", "/nothing"), "there is no GET /nothing here"),
        (("GET", "/environment/web/../../containers"), "there is no GET"),
        (("GET", "/environment/web\nroot: GET /forged"), "printable ASCII"),
        (("GET", "/environment/web?a=\r\n"), "printable ASCII"),
        (("PATCH", "/containers"), "there is no PATCH"),
        (("POST", "/container/web/exec"), "a session takes more than a link"),
        (("GET", "/callback-key"), "no link may ask GetCallbackKey"),
        (("POST", "/content-tokens"), "no link may ask CreateContentToken"),
        (("DELETE", "/content-tokens"), "no link may ask RevokeContentTokens"),
        (("shadow", "web"), "is nothing that a link can ask"),
        (("env", "..etc"), "cannot name"),
    ],
)
def test_what_no_link_can_ask(gear: Terminal, words: tuple[str, ...], why: str) -> None:
    said = gear("content-token", *words)
    assert said.code != 0 and why in said.err


def test_words_are_completed(gear: Terminal) -> None:
    gear.ok("install", "geard/sample", "webshop")
    [command] = [found for name, found in cli.root.commands.items() if name == "content-token"]

    def completed(*words: str) -> list[str]:
        found = ShellComplete(command, {}, "gear", "_GEAR_COMPLETE").get_completions(list(words[:-1]), words[-1])
        return [item.value for item in found]

    assert completed("st") == ["status", "start", "stop"]
    assert completed("log", "web") == ["webshop"]


def test_a_request_that_makes_no_line_of_http_is_refused(gear: Terminal) -> None:
    said = gear("content-token", "PATCH", "/environment/web", "-d", json.dumps({"x": "y" * 6_000}))
    assert said.code == 64 and "makes a link of" in said.err


async def test_nobody_makes_a_link_to_what_they_may_not_ask(host: FakeHost) -> None:
    request = CreateContentToken(method="GET", path="/secrets")
    operator = Asker("token ci", frozenset(("read", "operate")), 1000)
    with pytest.raises(Denied, match="token ci may not ask that"):
        await create_content_token(request, Work(host, "id", operator))


def test_a_link_of_a_tokens_holder_goes_with_the_token(gear: Terminal, holder: Holder) -> None:
    paths = gear.host.paths
    gear.ok("set-env", "db", "A=1")
    gear.ok("token", "create", "ci", "--scope", "operate", "--only", "web*")
    ci = Asker("token ci", SCOPES["operate"], only=("web*",), credential="token ci")

    async def made(id: str) -> str:
        request = CreateContentToken(path=f"/environment/{id}")
        return (await create_content_token(request, Work(gear.host, "id", ci))).path

    web, db = asyncio.run(made("web")), asyncio.run(made("db"))
    assert holder.ask(web)[0] == 200
    assert holder.ask(db)[0] == 403, "beyond the token's reach"
    gear.ok("token", "revoke", "ci")
    assert holder.ask(web)[0] == 403
    later = sealing.Maker(name="token ci", scopes=("operate", "read"), credential="token ci", at=time.time() - 60)
    gear.ok("token", "create", "ci", "--scope", "admin")
    with pytest.raises(Denied, match="may not ask"):
        entrance.standing(paths, later)


# --- what is kept, and what is told


def test_the_journal_shows_no_link(
    gear: Terminal, host: FakeHost, holder: Holder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    once, often = link(gear, "DELETE", "/environment/web"), link(gear, "env", "web")
    for path in (once, often, f"{often}x", f"{often}?follow=1"):
        for method in ("GET", "POST", "POST"):
            holder.ask(path, method)
    for head in (f"GET {often} HTTP/9.9", f"GET {often}\x01 HTTP/1.1", f"GET {often}", f"G@T {often} HTTP/1.1"):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(host.folder / "geard.sock"))
            line.sendall(f"{head}\r\nHost: x\r\n\r\n".encode())
            line.recv(1000)
    sealed = [found.removeprefix(f"{LOCAL}/token/") for found in (once, often)]
    assert not [text for text in sealed if text[:60] in caplog.text or text[-30:] in caplog.text]
    digest = spent.digest(sealed[0])[:12]
    assert f"content token of uid {os.geteuid()}" in caplog.text
    assert f"DELETE /environment/web by /token/({digest})" in caplog.text


def test_what_is_on_disk_is_roots_and_opens_nothing_by_itself(
    gear: Terminal, host: FakeHost, holder: Holder
) -> None:
    found = link(gear, "DELETE", "/environment/web")
    holder.ask(found, "POST")
    folder = host.paths.base / "content-tokens"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes == {"content-tokens": 0o700, "keys": 0o700, "spent": 0o700}
    [key], [used] = list((folder / "keys").iterdir()), list((folder / "spent").iterdir())
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32
    assert used.name.endswith(spent.digest(found.rpartition("/")[2]))


def test_keys_are_renewed_and_kept_for_as_long_as_a_link_may_need_them(host: FakeHost) -> None:
    first = keys.newest(host.paths)
    assert keys.newest(host.paths) == first
    later = time.time() + keys.RENEW_SECONDS + 1
    second = keys.newest(host.paths, later)
    assert second != first and keys.find(host.paths, first[0]) == first[1]
    long_ago = time.time() - keys.RENEW_SECONDS - 3 * 86_400
    for id in (first[0], second[0]):
        os.utime(keys.folder(host.paths) / id.hex(), (long_ago, long_ago))
    third = keys.newest(host.paths)
    left = {path.name for path in keys.folder(host.paths).iterdir()}
    assert third[0].hex() in left and len(left) == 2


def test_what_was_used_long_ago_is_forgotten(host: FakeHost) -> None:
    spent.spend(host.paths, "old", time.time() - spent.KEEP_SECONDS - 5)
    expires = time.time()
    spent.spend(host.paths, "new", expires)
    assert len(list((host.paths.base / "content-tokens/spent").iterdir())) == 1
    with pytest.raises(Failure, match="works once"):
        spent.spend(host.paths, "new", expires)
