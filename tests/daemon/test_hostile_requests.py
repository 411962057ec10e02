"""Questions that no client of ours asks, put to an agent with all rooms: each is refused with its reason, none is
a bug, none hangs, nothing on disk changes, and the agent goes on answering.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import socket
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from tests.daemon.belfry import UnixConnection
from tests.fakes.host import FakeHost, tree
from tests.fakes.terminal import agent

from geard import catalog
from geard.daemon.table import Entry, entries
from geard.dispatch.operation import all_operations

SEED = 43273
CONTAINER = "/container/there"
GOOD: dict[str, Any] = {"Image": "geard/sample"}


@dataclass(frozen=True)
class Agent:
    host: FakeHost
    socket: Path

    def ask(
        self, method: str, target: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer, on a connection of its own."""
        with closing(UnixConnection(self.socket)) as connection:
            return exchange(connection, method, target, body, headers)

    def raw(self, text: bytes) -> bytes:
        """What comes back for bytes that need not be HTTP, until the agent closes or has said something."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(10)
            line.connect(str(self.socket))
            line.sendall(text)
            line.shutdown(socket.SHUT_WR)
            found = b""
            while more := line.recv(65536):
                found += more
            return found


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None,
    headers: dict[str, str],
) -> tuple[int, dict[str, Any]]:
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": "localhost", **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None and headers.get("Transfer_Encoding") != "chunked":
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    if body is not None:
        connection.send(chunked(body) if headers.get("Transfer_Encoding") == "chunked" else body)
    response = connection.getresponse()
    text = response.read()
    try:
        found: Any = json.loads(text) if text else {}
    except ValueError:
        found = None
    return response.status, cast("dict[str, Any]", found) if isinstance(found, dict) else {"Text": text.decode()}


def chunked(body: bytes, size: int = 1000) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.fixture
def asked(fake_host: FakeHost, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Generator[Agent]:
    """An agent that has one gear and one environment. What it told the journal holds no bug."""
    tmp_path.chmod(0o755)
    with caplog.at_level(logging.INFO), agent(fake_host, tmp_path) as where:
        found = Agent(fake_host, where)
        assert found.ask("PUT", f"{CONTAINER}?follow=true", json.dumps(GOOD).encode())[0] == 200
        assert found.ask("PUT", "/environment/there", b'{"Variables":[{"Name":"A","Value":"1"}]}')[0] == 200
        yield found
        assert found.ask("GET", "/environment/there")[1] == {"Text": "A=1\n"}
    told = [*caplog.get_records("call"), *caplog.records]
    bugs = [record.getMessage() for record in told if record.levelno >= logging.WARNING]
    assert bugs == []


def j(value: object) -> bytes:
    return json.dumps(value).encode()


def installs(**more: object) -> bytes:
    return j({**GOOD, **more})


DEEP = b'{"Image":"geard/sample","Labels":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001
BODIES: list[tuple[str, bytes, str]] = [
    ("a list", b"[]", "must be a JSON object, not list"),
    ("text", b'"geard/sample"', "must be a JSON object, not str"),
    ("null", b"null", "must be a JSON object, not NoneType"),
    ("nothing at all", b"", "Image"),
    ("blanks", b"  ", "not JSON"),
    ("half of it", b'{"Image":', "not JSON"),
    ("two of them", b"{}{}", "not JSON"),
    ("not UTF-8", b'{"Image":"\xff\xfe"}', "not JSON"),
    ("a form", b"Image=geard%2Fsample", "not JSON"),
    ("a byte order mark", b'\xef\xbb\xbf{"Image":"geard/sample"}', "not JSON"),
    ("UTF-16", '{"Image":"geard/sample"}'.encode("utf-16"), "not JSON"),
    ("NaN", b'{"Image":"geard/sample","Limits":{"Cpus":NaN}}', "not JSON"),
    ("infinity", b'{"Image":"geard/sample","Limits":{"Cpus":1e999}}', ""),
    ("half a surrogate pair", b'{"Image":"geard/sample","Command":["\\ud800"]}', "not JSON"),
    ("deep", DEEP, "nested too deep"),
    ("the same key in two spellings", b'{"Image":"geard/sample","image":"geard/other"}', "twice"),
    ("a key of a part in two spellings", b'{"Image":"geard/sample","Ports":[],"ports":[]}', "twice"),
    ("no image", b"{}", "Image"),
    ("a number for text", j({"Image": 1}), "Expected `str`, got `int`"),
    ("text for a number", installs(StopTimeout="10"), "Expected `int"),
    ("text for truth", installs(Started="yes"), "Expected `bool`, got `str`"),
    ("one for truth", installs(Started=1), "Expected `bool`, got `int`"),
    ("a fraction", installs(StopTimeout=1.5), "Expected `int"),
    ("a huge number", installs(StopTimeout=10**30), ""),
    ("a huge port", installs(Ports=[{"Internal": 10**30}]), ""),
    ("a port below none", installs(Ports=[{"Internal": -1}]), ""),
    ("huge memory", installs(Limits={"Memory": 10**40}), ""),
    ("text for a list", installs(Command="sleep 1"), "Expected `array`, got `str`"),
    ("a list for text", installs(Command=[["sleep"]]), "Expected `str`, got `array`"),
    ("an object for a list", installs(Ports={"8080": 4000}), "Expected `array`, got `object`"),
    ("a list for an object", installs(Labels=[["a", "b"]]), "Expected `object`, got `array`"),
    ("a number for a label", installs(Labels={"a": 1}), "Expected `str`, got `int`"),
    ("null in a list", installs(Command=[None]), "Expected `str`, got `null`"),
    ("a key that is nearly one", installs(Comand=["sh"]), "there is no $.Comand"),
    ("a key deep down", installs(VolumeConfig={"Volumes": [{"Pfad": "/a"}]}), "$.VolumeConfig.Volumes[0].Pfad"),
    ("an internal key", installs(Parts=[]), "Parts"),
    ("a word that is none of them", installs(Restart="sometimes"), "sometimes"),
    ("NUL in a command", installs(Command=["a\0b"]), "cannot be carried"),
    ("NUL in a value", installs(Environment={"Variables": [{"Name": "A", "Value": "\0"}]}), "cannot be carried"),
    ("a line in a name", installs(Environment={"Variables": [{"Name": "A\nB", "Value": "1"}]}), "cannot name"),
    ("a line in a label's name", installs(Labels={"a\nb": "1"}), "cannot name"),
    ("a way out of a volume", installs(VolumeConfig={"Volumes": [{"Path": "/a/../../etc"}]}), "is no path"),
    ("an option for an image", j({"Image": "--privileged"}), "cannot name an image"),
    ("a slice of others", installs(SystemdSlice="system"), "slice"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "says"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_body_of_the_wrong_shape(asked: Agent, body: bytes, says: str) -> None:
    before = tree(asked.host.folder)
    for target in (CONTAINER, "/container/new-one"):
        status, told = asked.ask("PUT", target, body, Content_Type="application/json")
        assert (status, told["Kind"]) == (400, "Invalid"), told
        assert says in told["Message"], told
        assert len(told["Message"]) < 500
    assert tree(asked.host.folder) == before


def test_of_a_key_or_a_variable_given_twice_the_last_holds(asked: Agent) -> None:
    """As JSON's readers have it nearly everywhere, and as the original's environments had it."""
    twice = b'{"Image":"geard/other","Image":"geard/sample"}'
    assert "geard/sample" in asked.ask("POST", f"{CONTAINER}/preview", twice)[1]["Text"]
    both = [{"Name": "A", "Value": "2"}, {"Name": "A", "Value": "1"}]
    assert asked.ask("PATCH", "/environment/there", j({"Variables": both}))[0] == 200


def test_a_key_that_is_not_known_is_told_with_the_nearest(asked: Agent) -> None:
    assert asked.ask("PUT", CONTAINER, installs(Comand=[]))[1]["Hint"] == "did you mean Command?"
    assert "StopTimeout" in asked.ask("PUT", CONTAINER, installs(Zzzz=1))[1]["Hint"]


PATHS = [
    ("/container/%2e%2e", 400), ("/container/..", 400), ("/container/.", 400), ("/container/a%2Fb", 400),
    ("/container/../../etc/passwd", 404), ("/container/%00", 400), ("/container/ab%00", 400),
    ("/container/ab%0ACc", 400), ("/container/ab%20", 400), ("/container/-x", 400), ("/container/a", 400),
    ("/container/" + "a" * 65, 400), ("/container/" + "a" * 7000, 400), ("/container/ab%zz", 400),
    ("/container/%25n", 400), ("/container/$(id)", 400), ("/container/%C3%A9%C3%A9", 400),
    ("/container/%ff%fe", 400), ("/container/%ED%A0%80", 400), ("/container/ab..cd", 400), ("/container/", 404),
    ("/container//", 404), ("//container/ab", 404), ("/container/ab/", 404), ("/container/ab/x", 404),
    ("/CONTAINER/there", 404), ("/container/there;x=1", 400), ("/container/there%3Fx", 400),
    ("/container/ab.service%0a", 400),
]  # fmt: skip


@pytest.mark.parametrize(("path", "status"), PATHS, ids=[path[:40] for path, _ in PATHS])
def test_a_path_that_names_nothing(asked: Agent, path: str, status: int) -> None:
    before = tree(asked.host.folder)
    found, told = asked.ask("PUT", path, j(GOOD))
    assert (found, told["Kind"]) == (status, "Invalid" if status == 400 else "NotFound"), told
    assert len(told["Message"]) < 500
    assert tree(asked.host.folder) == before


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/container/there/status?lines=many", "$.Lines"),
        ("/container/there/status?lines=-1", ""),
        ("/container/there/status?lines=1e99", "$.Lines"),
        ("/container/there/status?lines=99999999999999999999", "lines"),
        ("/container/there/status?lnes=1", "there is no $.lnes"),
        ("/containers?all=maybe", "$.All"),
        ("/containers?all=1&all=0", "twice"),
        ("/containers?%ff=1", ""),
        ("/container/there/log?since=%00", ""),
        ("/container/there/log?since=tomorrow-ish", ""),
        ("/container/there/log?lines=nan", ""),
        ("/container/there/log?timeout=nan", "nan"),
        ("/container/there/log?timeout=inf", "inf"),
        ("/container/there/log?timeout=-1", ""),
        ("/container/there/log?after=%ff%00", ""),
    ],
)
def test_a_query_that_cannot_be(asked: Agent, target: str, says: str) -> None:
    status, told = asked.ask("GET", target)
    assert (status, told["Kind"]) == (400, "Invalid"), told
    assert says in told["Message"]


def test_a_body_may_be_as_long_as_it_says_and_no_longer(asked: Agent) -> None:
    limit = 100 * 1024
    text = installs(Labels={"a": ""})
    just = text.replace(b'""', b'"' + b"x" * (limit - len(text)) + b'"')
    assert len(just) == limit
    for how in ({}, {"Transfer_Encoding": "chunked"}):
        assert asked.ask("POST", f"{CONTAINER}/preview", just, **how)[0] == 200
        status, told = asked.ask("POST", f"{CONTAINER}/preview", just + b" ", **how)
        assert (status, told["Kind"]) == (413, "TooLarge")
    assert asked.ask("PUT", CONTAINER + "?x=" + "y" * 20_000, j(GOOD))[0] in (400, 414)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense", 'a/b; charset="', ""]
)
def test_what_a_body_is_called_changes_nothing(asked: Agent, kind: str) -> None:
    """curl -d says application/x-www-form-urlencoded of everything, and the README's lines use it so."""
    assert asked.ask("POST", f"{CONTAINER}/preview", j(GOOD), Content_Type=kind)[0] == 200
    assert asked.ask("POST", f"{CONTAINER}/preview", b"{", Content_Type=kind)[0] == 400


PUT = b"PUT /container/ab HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /container/\xff\xfe/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /containers HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        PUT + b"Content-Length: -1\r\n\r\n{}",
        PUT + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        PUT + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        PUT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        PUT + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n{}\r\n",
        PUT + b"Content-Length: 20\r\n\r\n{}",
        PUT + b"X-Request-Id: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=lambda text: repr(text[:60]),
)
def test_what_is_no_http(asked: Agent, text: bytes) -> None:
    before = tree(asked.host.folder)
    said = asked.raw(text)
    assert said == b"" or 400 <= int(said.split()[1]) < 500, said
    assert said == b"" or {"Kind", "Message", "RequestId"} <= json.loads(said.partition(b"\r\n\r\n")[2]).keys()
    assert asked.ask("GET", "/containers")[0] == 200
    assert tree(asked.host.folder) == before


Make = Callable[[random.Random], Any]
NASTY_TEXT = [
    "",
    " ",
    "\0",
    "\n",
    "..",
    "/",
    "-x",
    "%n",
    "$(id)",
    "é",
    "\U0001f73a",
    "\ufffe",
    "a" * 5000,
    "there",
]
NASTY_NUMBERS = [0, -1, 1, 65536, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308]


def anything(chance: random.Random, depth: int = 0) -> Any:
    if depth < 4 and chance.random() < 0.4:
        some = range(chance.randrange(4))
        if chance.random() < 0.5:
            return [anything(chance, depth + 1) for _ in some]
        return {chance.choice(KEYS): anything(chance, depth + 1) for _ in some}
    return chance.choice([None, True, False, chance.choice(NASTY_TEXT), chance.choice(NASTY_NUMBERS)])


KEYS = [
    "Image", "Id", "Name", "Value", "Variables", "Path", "HostPath", "Internal", "External", "Memory", "Source",
    "a", "", "Ünï", "Command", "Remove", "Timeout", "Wait", "Parts",
]  # fmt: skip


def fields(entry: Entry) -> list[str]:
    return [*entry.request.__struct_encode_fields__, "Ports", "Environment", "Nonsense"]


Question = tuple[str, str, bytes | None, dict[str, str]]


def question(chance: random.Random, routes: list[Entry], image: str = "geard/sample") -> Question:
    """A question that may be nearly right, or not at all."""
    entry = chance.choice(routes)
    id = chance.choice([*NASTY_TEXT, "there", "there", "nobody", "a" * 64])
    path = entry.route.path.replace("{id}", quote(id, safe="" if chance.random() < 0.8 else "/."))
    pairs = {chance.choice(fields(entry)): chance.choice(NASTY_TEXT) for _ in range(chance.randrange(3))}
    query = "&".join(f"{quote(k)}={quote(v)}" for k, v in pairs.items())
    body = j({**{name: anything(chance) for name in chance.sample(fields(entry), chance.randrange(1, 4))}})
    if "Image" in entry.request.__struct_encode_fields__ and chance.random() < 0.6:
        body = j({**json.loads(body), "Image": image})
    damage = chance.random()
    if damage < 0.1:
        at = chance.randrange(len(body))
        body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
    elif damage < 0.15:
        body = chance.randbytes(chance.randrange(200))
    elif damage < 0.2:
        body = body[: chance.randrange(len(body))]
    headers = {
        "Accept": chance.choice(["*/*", "application/json", "application/x-ndjson", "text/plain", "image/png"])
    }
    if chance.random() < 0.1:
        headers["X_Request_Id"] = chance.choice(["a" * 22, "0" * 32, "short", "../../../etc/passwd0000", "-" * 22])
    if chance.random() < 0.1:
        headers["Transfer_Encoding"] = "chunked"
    if entry.method in ("GET", "DELETE"):
        headers.pop("Transfer_Encoding", None)
        return entry.method, f"{path}?{query}" if query else path, None, headers
    return entry.method, path, body, headers


def routes_to_try() -> list[Entry]:
    """All but those that wait for something else: a log's lines, an event, a registry."""
    catalog.load()
    rooms = [kind for kind in all_operations() if kind.__module__.startswith("geard.")]
    quiet = ("/log", "/events", "/images/pull", "/registries/login")
    return [entry for entry in entries(rooms) if not entry.route.path.endswith(quiet)]


def test_thousands_of_questions_and_no_bug(asked: Agent) -> None:
    """The same few thousand at each run. Refusals have one form; what is taken for good is not our affair here."""
    chance = random.Random(SEED)
    refused, routes = 0, routes_to_try()
    with closing(UnixConnection(asked.socket)) as connection:
        for number in range(3000):
            method, target, body, headers = question(chance, routes)
            about = f"{number}: {method} {target[:200]!r} {body and body[:300]!r} {headers}"
            try:
                status, told = exchange(connection, method, target, body, headers)
            except (http.client.HTTPException, OSError) as error:
                pytest.fail(f"{about}: {error!r}")
            assert status < 500 or told.get("Kind") in ("Unavailable", "Full"), f"{about}: {told}"
            if status >= 400:
                refused += 1
                assert {"Kind", "Message", "RequestId"} <= told.keys(), f"{about}: {status} {told}"
    assert 1500 < refused < 3000
    asked.ask("PUT", "/environment/there", b'{"Variables":[{"Name":"A","Value":"1"}]}')
