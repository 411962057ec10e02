"""What each client is given, over a real unix socket and real TCP."""

from __future__ import annotations

import json
import logging
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.daemon.belfry import RunningAgent, belfry

from geard.daemon import changes, writing
from geard.identifiers import new_request_id

NDJSON = "application/x-ndjson"
GO_CLIENT = "application/json;stream=true"


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if holds():
            return True
        time.sleep(0.005)
    return False


def test_curl_is_told_in_text_and_not_kept_waiting(agent: RunningAgent) -> None:
    reply = agent.ask("PUT", "/bell/my-sample-service.1", {"Hold": True}, Accept="*/*")
    assert (reply.status, reply.text) == (200, "my-sample-service.1 rang 1 times\n")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert agent.ask("POST", "/bell/a%2Eb").text == "a.b rang 1 times\n"  # the README's other method


def test_curl_follows_the_report_to_its_end(agent: RunningAgent) -> None:
    reply = agent.ask("PUT", "/bell/a?follow=true", {"Times": 2})
    assert reply.text == "a rang 1 times\nstroke 0\nstroke 1\n"
    reply = agent.ask("PUT", "/bell/a?follow=true", {"Times": 1, "Fail": "later"})
    assert reply.status == 200
    assert reply.text == "a rang 2 times\nstroke 0\nerror: the rope broke\nhint: mend it\n"


def test_curl_waits_as_long_as_it_prefers(agent: RunningAgent) -> None:
    id = new_request_id()
    reply = agent.ask("PUT", "/bell/a", {"Hold": True}, Prefer="wait=1", X_Request_Id=id)
    told = "a rang 1 times\nstroke 0\nerror: still going on after 1 s\n"
    assert reply.text == f"{told}hint: ask again with X-Request-Id: {id} to see the rest\n"
    belfry.go_on.set()
    reply = agent.ask("PUT", "/bell/a?follow=true", {"Hold": True}, X_Request_Id=id)
    assert reply.text == "a rang 1 times\nstroke 0\nheld no more\n"
    assert agent.ask("PUT", "/bell/a", Prefer="wait=soon").status == 400


def test_wait_in_the_body_follows(agent: RunningAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "WAIT_SECONDS", 0.05)
    reply = agent.ask("PUT", "/bell/a", {"Hold": True, "Wait": True}, Accept=GO_CLIENT)
    assert reply.status == 202
    assert reply.text.startswith("a rang 1 times\nstroke 0\nerror: still going on after 0.05 s\n")


def test_questions_are_answered_in_text_or_json_as_their_route_says(agent: RunningAgent) -> None:
    assert agent.ask("GET", "/bell/a").text == "a rang 0 times\n"
    assert agent.ask("GET", "/bell/a", Accept="application/json").json == {"Id": "a", "Rung": 0}
    assert agent.ask("GET", "/bells").json == {"Bells": [{"Id": "big", "Rung": 0}]}
    assert agent.ask("GET", "/bells", Accept="text/plain").status == 406
    assert agent.ask("GET", "/bell/a/sound").text == "ding\n\ndong\n"


def test_the_original_client(agent: RunningAgent) -> None:
    reply = agent.ask("PUT", "/bell/a", {"Times": 1}, Accept=GO_CLIENT, X_Api_Version="1")
    assert (reply.status, reply.text) == (202, "a rang 1 times\n")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["X-PortMapping"] == "8080:4000"
    assert agent.ask("DELETE", "/bell/a", Accept=GO_CLIENT).status == 204
    reply = agent.ask("GET", "/bells", Accept=GO_CLIENT)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    reply = agent.ask("GET", "/bell/a/sound", Accept=GO_CLIENT)
    assert (reply.status, reply.text) == (202, "ding\n\ndong\n")
    assert agent.ask("POST", "/container/a/restart", Accept=GO_CLIENT).status == 429
    reply = agent.ask("POST", "/container/a/restart")
    assert (reply.status, reply.json["Message"]) == (409, "it is stopping")


def test_our_own_client_is_told_every_event(agent: RunningAgent) -> None:
    reply = agent.ask("PUT", "/bell/a", {"Times": 1}, Accept=NDJSON)
    assert reply.events == [{"Answer": {"Id": "a", "Rung": 1}}, {"Done": True}]
    reply = agent.ask("PUT", "/bell/a?follow=true", {"Times": 1, "Fail": "later"}, Accept=NDJSON)
    answer, progress, failure = reply.events
    assert answer == {"Answer": {"Id": "a", "Rung": 2}}
    step = {"Id": "a", "Phase": "ringing", "Message": "stroke 0", "Result": False}
    assert progress == {"Progress": step, "Cursor": "1"}
    assert failure["Failure"]["Kind"] == "Unavailable"
    assert failure["Failure"]["RequestId"] == reply.headers["X-Request-Id"]
    reply = agent.ask("GET", "/bell/a/sound", Accept="application/json")
    assert reply.events == [*({"Item": {"Line": line}} for line in ("ding", "", "dong")), {"Done": True}]


def test_json_with_follow_waits_and_then_has_a_status(agent: RunningAgent) -> None:
    reply = agent.ask("PUT", "/bell/a?follow=true", {"Fail": "later"}, Accept="application/json")
    assert (reply.status, reply.json["Kind"]) == (503, "Unavailable")
    reply = agent.ask("PUT", "/bell/a", {"Hold": True}, Accept="application/json", Prefer="wait=0")
    assert (reply.status, reply.json["Kind"]) == (504, "TimedOut")


def test_an_idle_stream_beats(agent: RunningAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BEAT_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(agent.ask, "PUT", "/bell/a?follow=true", {"Hold": True}, Accept=NDJSON)
        time.sleep(0.3)
        belfry.go_on.set()
        events = asked.result().events
    assert events.count({}) >= 2
    assert events[-1] == {"Done": True}


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "kind"),
    [
        ("PUT", "/bell/a", b"{nonsense", {}, 400, "Invalid"),
        ("PUT", "/bell/a", b"\x1f\x8b", {"Content_Encoding": "gzip"}, 400, "Invalid"),
        ("PUT", "/bell/a", {"Tmes": 1}, {}, 400, "Invalid"),
        ("PUT", "/bell/%ff", {}, {}, 400, "Invalid"),
        ("PUT", "/bell/a", {}, {"X_Request_Id": "short"}, 400, "Invalid"),
        ("PUT", "/bell/a", b" " * (100 * 1024 + 1), {}, 413, "TooLarge"),
        ("PUT", "/bell/a", {}, {"Accept": "image/png"}, 406, "NotAcceptable"),
        ("GET", "/nothing", None, {}, 404, "NotFound"),
        ("GET", "/bell/", None, {}, 404, "NotFound"),
        ("PATCH", "/bell/a", {}, {}, 405, "Invalid"),
        ("PUT", "/bell/a", {"Fail": "at once"}, {}, 409, "Conflict"),
        ("PUT", "/bell/a", {"Fail": "bug"}, {}, 500, "Bug"),
        ("GET", "/bell/none", None, {}, 404, "NotFound"),
        ("GET", "/bell/none/sound", None, {}, 404, "NotFound"),
    ],
)
def test_failures_have_one_form(
    agent: RunningAgent,
    method: str,
    target: str,
    body: object,
    headers: dict[str, str],
    status: int,
    kind: str,
) -> None:
    for accept in {"Accept": "*/*"}, {"Accept": NDJSON}, {"Accept": GO_CLIENT}:
        reply = agent.ask(method, target, body, tcp=False, **{**accept, **headers})
        assert reply.status == status
        assert reply.text.endswith("}\n")
        assert reply.json["Kind"] == kind
        assert reply.json["Message"]
        assert reply.json["RequestId"] == reply.headers["X-Request-Id"]


def test_what_a_failure_carries(agent: RunningAgent) -> None:
    reply = agent.ask("PUT", "/bell/a", {"Fail": "at once"})
    expected = {"Message": "a is being cleaned", "Kind": "Conflict", "Hint": "come back later", "Data": [1]}
    assert {key: value for key, value in reply.json.items() if key != "RequestId"} == expected
    assert agent.ask("PATCH", "/bell/a").headers["Allow"] == "DELETE, GET, POST, PUT"


def test_a_bug_is_in_the_journal_under_the_id_that_was_told(
    agent: RunningAgent, caplog: pytest.LogCaptureFixture
) -> None:
    reply = agent.ask("PUT", "/bell/a", {"Fail": "bug"})
    assert "bells" not in reply.text
    assert reply.headers["X-Request-Id"] in reply.json["Message"]
    assert reply.headers["X-Request-Id"] in caplog.text
    assert "bells divided by none" in caplog.text


def test_too_large_without_saying_how_large(agent: RunningAgent) -> None:
    connection = agent.connection()
    connection.request("PUT", "/bell/a", iter([b" " * 64 * 1024] * 2), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_the_largest_body_comes_in_after_100_continue(agent: RunningAgent) -> None:
    body = b'{"Times": 1}'.ljust(100 * 1024)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(agent.socket))
        head = f"PUT /bell/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall(head.encode())
        assert line.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        line.sendall(body)
        assert line.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_same_id_joins_and_sees_everything_from_the_first_line(agent: RunningAgent) -> None:
    id = new_request_id()
    body = {"Times": 2, "Hold": True}
    assert agent.ask("PUT", "/bell/a", body, X_Request_Id=id).text == "a rang 1 times\n"
    with ThreadPoolExecutor(2) as pool:
        joined = [pool.submit(agent.ask, "PUT", "/bell/a?follow=1", body, X_Request_Id=id) for _ in range(2)]
        time.sleep(0.05)
        belfry.go_on.set()
        replies = [each.result() for each in joined]
    replies.append(agent.ask("POST", "/bell/a?follow=1", body, X_Request_Id=id, tcp=True))
    for reply in replies:
        assert reply.text == "a rang 1 times\nstroke 0\nstroke 1\nheld no more\n"
        assert reply.headers["X-Request-Id"] == id
    assert belfry.rung["a"] == 1
    other = agent.ask("PUT", "/bell/a", {"Times": 3}, X_Request_Id=id)
    assert (other.status, other.json["Kind"]) == (409, "Conflict")
    assert "stroke" not in other.text


def test_both_spellings_of_an_id_are_one(agent: RunningAgent) -> None:
    assert agent.ask("PUT", "/bell/a", X_Request_Id="00" * 16).headers["X-Request-Id"] == "A" * 22
    assert agent.ask("PUT", "/bell/a", X_Request_Id="A" * 22 + "==").text == "a rang 1 times\n"


def test_who_leaves_interrupts_nothing(agent: RunningAgent) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(agent.socket))
        body = b'{"Hold": true}'
        head = f"PUT /bell/a?follow=true HTTP/1.1\r\nHost: x\r\nX-Request-Id: {'B' * 22}\r\n"
        line.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert b"200 OK" in line.recv(10000)
    belfry.go_on.set()
    reply = agent.ask("PUT", "/bell/a?follow=true", {"Hold": True}, X_Request_Id="B" * 22)
    assert reply.text == "a rang 1 times\nstroke 0\nheld no more\n"


def test_a_stream_ends_when_its_listener_leaves(agent: RunningAgent) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(agent.socket))
        line.sendall(b"GET /bell/a/sound?endless=true HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in line.recv(10000)
        assert belfry.heard_out == []
    assert eventually(lambda: belfry.heard_out == ["a"])


def test_a_slow_listener_holds_up_only_the_stream(agent: RunningAgent) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(str(agent.socket))
        line.sendall(b"GET /bell/a/sound?endless=true HTTP/1.1\r\nHost: x\r\n\r\n")
        assert agent.ask("PUT", "/bell/b").status == 200


def test_one_connection_serves_many_requests(agent: RunningAgent) -> None:
    connection = agent.connection()
    for number in range(1, 4):
        connection.request("PUT", "/bell/a", b'{"Times": 1}')
        assert connection.getresponse().read().decode() == f"a rang {number} times\n"
    connection.close()


def test_every_change_is_logged_with_who_and_what_came_of_it(
    agent: RunningAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geard.daemon")
    done = agent.ask("PUT", "/bell/a?secret=1", X_Request_Id="C" * 22)
    agent.ask("GET", "/bell/a")
    agent.ask("PUT", "/bell/a", b"{")
    agent.ask("GET", "/bell/a")  # a line is written when its answer has gone: before the next is answered
    lines = [record.message for record in caplog.records if record.name == "geard.daemon.responses"]
    assert done.status == 200
    assert lines[0] == f"uid 0 (root), unix socket: PUT /bell/a [{'C' * 21}A] 200"
    assert len(lines) == 2
    assert lines[1].endswith("400")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "localhost:43273"}, 200),
        ({"Host": "127.0.0.1:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Host": socket.gethostname().upper()}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "localhost@evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
        ({"Host": "localhost:1", "Origin": "http://localhost:2"}, 403),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": "localhost", "Sec_Fetch_Site": "same-site"}, 403),
        ({"Host": "localhost", "Sec_Fetch_Site": "none"}, 200),
    ],
)
def test_a_web_page_cannot_drive_the_agent(agent: RunningAgent, headers: dict[str, str], status: int) -> None:
    reply = agent.ask("PUT", "/bell/a", tcp=True, **headers)
    assert reply.status == status
    assert belfry.rung["a"] == (status == 200)


def test_a_unix_socket_has_no_name_to_ask_for(agent: RunningAgent) -> None:
    assert agent.ask("GET", "/bell/a", Host="whatever.example").status == 200
    assert agent.ask("GET", "/bell/a", Host="x", Origin="http://evil.example").status == 403


def test_a_browser_on_a_port_that_leads_to_the_unix_socket_names_its_own_machine(agent: RunningAgent) -> None:
    """ssh -L 8080:/run/geard/geard.sock; a page whose name was made to lead to 127.0.0.1 is its own site there."""
    browser = {"Accept_Language": "en", "Sec_Fetch_Site": "none"}
    assert agent.ask("GET", "/bell/a", tcp=False, Host="localhost:8080", **browser).status == 200
    assert agent.ask("GET", "/bell/a", tcp=False, Host="evil.example:8080", **browser).status == 403
    assert agent.ask("GET", "/bell/a", Host="evil.example:8080", Accept_Language="en").status == 403
    rebound = {"Origin": "http://evil.example:8080", "Host": "evil.example:8080"}
    assert agent.ask("PUT", "/bell/a", tcp=False, **rebound).status == 403
    assert belfry.rung["a"] == 0


def test_the_listing(agent: RunningAgent) -> None:
    text = agent.ask("GET", "/").text
    assert "PUT     /bell/{id} " in text
    assert [line.split() for line in text.splitlines() if "ListBells" in line] == [
        ["GET", "/bells", "ListBells", "Bells", "read"]
    ]


def test_a_reset_is_no_bug(agent: RunningAgent, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        line = socket.create_connection(("127.0.0.1", agent.port))
        line.sendall(b"GET /bell/a/sound?endless=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        line.recv(1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()
    assert agent.ask("GET", "/bell/a").status == 200
    assert eventually(lambda: len(belfry.heard_out) == 20)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_answers_are_json_words(agent: RunningAgent) -> None:
    assert json.loads(agent.ask("PUT", "/bell/a", Accept="application/json").text) == {"Id": "a", "Rung": 1}
