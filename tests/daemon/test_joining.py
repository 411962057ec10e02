"""The same bytes from one agent and the next; what an agent that stops does with those who have a connection."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.daemon.belfry import Reply, RunningAgent, belfry, running_agent

from geard.daemon import server
from geard.dispatch import dispatcher
from geard.identifiers import new_request_id

NDJSON = "application/x-ndjson"
FORMS = ("*/*", "application/json", NDJSON, "application/json;stream=true")


@pytest.fixture(autouse=True)
def new_bells() -> Generator[None]:
    belfry.rung.clear()
    belfry.go_on.clear()
    yield
    belfry.go_on.set()


@pytest.mark.parametrize("accept", FORMS)
@pytest.mark.parametrize("fail", ["", "later", "at once"])
def test_the_next_agent_says_the_same(tmp_path: Path, accept: str, fail: str) -> None:
    id, body = new_request_id(), {"Times": 3, "Fail": fail}
    said: list[tuple[int, dict[str, str], str]] = []
    for _ in range(2):
        with running_agent(tmp_path) as agent:
            reply = agent.ask("PUT", "/bell/a?follow=true", body, X_Request_Id=id, Accept=accept)
            headers = {name: value for name, value in reply.headers.items() if name != "Date"}
            said.append((reply.status, headers, reply.text))
            assert agent.ask("PUT", "/bell/a", {"Times": 4}, X_Request_Id=id).status == 409
    assert said[0] == said[1]
    assert belfry.rung["a"] == (0 if fail == "at once" else 1)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/bell/b", {"Times": 3}),
        ("PUT", "/bell/a", {"Times": 2}),
        ("DELETE", "/bell/a", None),
        ("POST", "/container/a/restart", None),
    ],
    ids=["path", "body", "method", "route"],
)
def test_an_id_is_for_one_question(agent: RunningAgent, method: str, path: str, body: object) -> None:
    id = new_request_id()
    first = agent.ask("PUT", "/bell/a", {"Times": 3}, X_Request_Id=id)
    other = agent.ask(method, path, body, X_Request_Id=id)
    assert (first.status, other.status, other.json["Kind"]) == (200, 409, "Conflict")
    assert "rang" not in other.text, "nothing of the first is shown"
    assert agent.ask("PUT", "/bell/a", {"Times": 3}, X_Request_Id=id).text == first.text
    assert dict(belfry.rung) == {"a": 1}


def test_who_is_refused_for_load_asks_again_with_the_same_id(
    agent: RunningAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = new_request_id()
    monkeypatch.setattr(dispatcher, "RUNNING_LIMIT", 0)
    refused = agent.ask("PUT", "/bell/a", {"Times": 3}, X_Request_Id=id)
    assert (refused.status, refused.json["Kind"], refused.headers["Retry-After"]) == (503, "Full", "1")
    assert refused.headers["X-Request-Id"] == id and not belfry.rung
    monkeypatch.undo()
    assert agent.ask("PUT", "/bell/b", {"Times": 2}, X_Request_Id=id).status == 200, "it is anybody's still"


class Ending:
    """An agent that is told to stop while the test goes on."""

    def __init__(self, folder: Path) -> None:
        self.up, self.told, self.over = threading.Event(), threading.Event(), threading.Event()
        self.agent: RunningAgent | None = None

        def live() -> None:
            with running_agent(folder, let_go=False) as self.agent:
                self.up.set()
                self.told.wait(10)
            self.over.set()

        self.thread = threading.Thread(target=live, name="life of an agent")
        self.thread.start()
        assert self.up.wait(10)

    def connection(self) -> http.client.HTTPConnection:
        assert self.agent is not None
        return self.agent.connection()

    def stop(self) -> None:
        self.told.set()
        time.sleep(0.1)


@pytest.fixture
def ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Ending]:
    monkeypatch.setattr(server, "LINGER_SECONDS", 3.0)
    found = Ending(tmp_path)
    yield found
    belfry.go_on.set()
    found.stop()
    found.thread.join(20)
    assert not found.thread.is_alive()


def exchange(connection: http.client.HTTPConnection, target: str) -> tuple[int, str | None]:
    connection.request("PUT", target, b"{}")
    response = connection.getresponse()
    response.read()
    return response.status, response.headers["Connection"]


def test_who_asks_once_more_on_an_open_connection_is_answered_and_told_to_go(ending: Ending) -> None:
    connection = ending.connection()
    assert exchange(connection, "/bell/a") == (200, None)
    ending.stop()
    assert exchange(connection, "/bell/b") == (200, "close")
    connection.close()
    assert ending.over.wait(10)


def test_who_has_connected_and_not_asked_yet_is_answered(ending: Ending) -> None:
    connection = ending.connection()
    connection.connect()
    ending.stop()
    assert exchange(connection, "/bell/a") == (200, "close")
    connection.close()


def test_a_report_that_is_cut_has_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program sees that and asks again, a person is told, who wants it whole is told when to ask again."""
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.2)
    replies: dict[str, Future[Reply]] = {}
    with ThreadPoolExecutor(3) as pool:
        with running_agent(tmp_path, let_go=False) as agent:
            for number, form in enumerate((NDJSON, "*/*", "application/json")):
                target = f"/bell/{number}?follow=true"
                replies[form] = pool.submit(agent.ask, "PUT", target, {"Hold": True}, Accept=form)
            while len(belfry.rung) < 3:
                time.sleep(0.01)
        assert "Done" not in replies[NDJSON].result().text
        assert '{"Progress"' in replies[NDJSON].result().text
        assert "error: geard is being stopped" in replies["*/*"].result().text
        whole = replies["application/json"].result()
        assert (whole.status, whole.headers["Retry-After"]) == (503, "1")
