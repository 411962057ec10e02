"""What a browser, a scraper and a curious curl are shown beside the answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.daemon.belfry import RunningAgent
from tests.daemon.test_api import eventually
from tests.fakes.host import FakeHost
from tests.fakes.terminal import agent as agent_on

from geard.daemon import exposition
from geard.daemon.pages import PAGES

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Links(HTMLParser):
    """What a page loads or leads to, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.elements: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            assert not name.startswith("on") and name != "style", f"<{tag} {name}> runs or paints something"
            if name in ("href", "src"):
                self.targets.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in ("meta", "link", "br"):
            self.elements.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements.pop() == tag


@dataclass(frozen=True)
class RoomsAgent:
    host: FakeHost
    there: RunningAgent


@pytest.fixture
def rooms(fake_host: FakeHost, tmp_path: Path) -> Generator[RoomsAgent]:
    tmp_path.chmod(0o755)
    with agent_on(fake_host, tmp_path) as socket:
        yield RoomsAgent(fake_host, RunningAgent(socket, 0))


def figures(text: str) -> Figures:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_page_is_there_for_who_gets_in(rooms: RoomsAgent) -> None:
    for page in PAGES:
        reply = rooms.there.ask("GET", page.path)
        assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (
            200,
            page.type.partition(";")[0],
        )
        assert reply.headers["X-Request-Id"] and reply.headers["X-Content-Type-Options"] == "nosniff"
        head = rooms.there.ask("HEAD", page.path)
        assert (head.status, head.text) == (200, "")
        refused = rooms.there.ask("POST", page.path)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


def test_the_page_to_read_loads_its_own_style_and_nothing_else(rooms: RoomsAgent) -> None:
    reply = rooms.there.ask("GET", "/docs")
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    page = Links()
    page.feed(reply.text)
    assert page.elements == []
    assert page.seen.isdisjoint({"script", "img", "iframe", "form", "object", "style"})
    assert len(page.ids) == len(set(page.ids))
    inside = {target[1:] for target in page.targets if target.startswith("#")}
    assert len(inside) > 50 and inside <= set(page.ids)
    assert {target for target in page.targets if not target.startswith("#")} == {
        "/docs/style.css",
        "/openapi.json",
    }
    style = rooms.there.ask("GET", "/docs/style.css").text
    assert "url(" not in style and "@import" not in style


def test_the_page_to_read_has_every_route_and_what_openapi_says_of_it(rooms: RoomsAgent) -> None:
    text = rooms.there.ask("GET", "/docs").text
    described = json.loads(rooms.there.ask("GET", "/openapi.json").text)
    for methods in described["paths"].values():
        for operation in methods.values():
            assert f'<article id="{operation["operationId"]}">' in text
    assert "seconds between TERM and KILL" in text


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
def test_a_link_on_another_sites_page_may_be_followed_to_what_says_nothing_of_this_machine(
    agent: RunningAgent, path: str
) -> None:
    followed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert agent.ask("GET", path, tcp=True, Host="localhost", **followed).status == 200
    assert agent.ask("GET", path, tcp=True, Host="evil.example", **followed).status == 403
    for other in ({"Sec_Fetch_Dest": "iframe"}, {"Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"}):
        assert agent.ask("GET", path, tcp=True, Host="localhost", **{**followed, **other}).status == 403
    assert agent.ask("GET", "/metrics", tcp=True, Host="localhost", **followed).status == 403
    assert agent.ask("GET", "/bell/a", tcp=True, Host="localhost", **followed).status == 403


def test_metrics_count_requests_by_route_and_never_by_id(agent: RunningAgent) -> None:
    for number in range(30):
        agent.ask("PUT", f"/bell/b{number}")
        agent.ask("GET", f"/nowhere/{number}")
    agent.ask("GET", "/bell/none")
    agent.ask("PROPFIND", "/bell/none")
    text = agent.ask("GET", "/metrics").text
    found = figures(text)
    put = (("method", "PUT"), ("route", "/bell/{id}"))
    assert found["geard_http_requests_total", (("code", "200"), *put)] == 30
    assert found["geard_http_request_duration_seconds_count", put] == 30
    assert found["geard_http_request_duration_seconds_bucket", (("le", "+Inf"), *put)] == 30
    get = (("method", "GET"), ("route", "/bell/{id}"))
    assert found["geard_http_requests_total", (("code", "404"), *get)] == 1
    other = (("method", "other"), ("route", ""))
    assert found["geard_http_requests_total", (("code", "404"), *other)] == 30
    assert found["geard_http_requests_total", (("code", "405"), *other)] == 1
    assert "b7" not in text and "nowhere" not in text and "PROPFIND" not in text


def streams_open(agent: RunningAgent) -> float:
    return figures(agent.ask("GET", "/metrics").text)["geard_streams_open", ()]


def test_metrics_know_what_is_open(agent: RunningAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "KEPT_SECONDS", 0.0)
    with closing(agent.connection()) as line:
        line.request("GET", "/bell/a/sound?endless=1")
        line.getresponse().read1(1)
        assert streams_open(agent) == 1
    assert eventually(lambda: streams_open(agent) == 0)


def test_metrics_of_the_machine(rooms: RoomsAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "KEPT_SECONDS", 0.0)
    before = figures(rooms.there.ask("GET", "/metrics").text)
    assert before["geard_ports_free", (("protocol", "tcp"),)] == 56_000 - 1
    for name in ("web", "db"):
        body = {"Image": "geard/sample", "Started": name == "web"}
        assert rooms.there.ask("PUT", f"/container/{name}?follow=1", body).status == 200
    ends = rooms.host.paths.run / "ends"
    ends.mkdir()
    (ends / "exit-code").write_text("...")
    found = figures(rooms.there.ask("GET", "/metrics").text)
    assert found["geard_gears", (("state", "active"),)] == 1
    assert found["geard_gears", (("state", "inactive"),)] == 1
    assert found["geard_gears_wanted", ()] == 1
    assert found["geard_gear_ends_total", (("result", "exit-code"),)] == 3
    assert found["geard_ports_reserved", (("protocol", "tcp"),)] == 2
    assert found["geard_ports_free", (("protocol", "tcp"),)] == 56_000 - 1 - 2
    assert (found["geard_requests_running", ()], found["geard_requests_queued", ()]) == (0, 0)
    assert found["process_resident_memory_bytes", ()] > 1e6
    assert found["process_open_fds", ()] > 3
    assert not any(value for (name, _), value in found.items() if name == "geard_measure_failed")


def test_figures_that_cannot_be_had_take_no_others_away(rooms: RoomsAgent) -> None:
    rooms.host.systemd.broken = "the bus is away"
    found = figures(rooms.there.ask("GET", "/metrics").text)
    failed = {labels[0][1] for (name, labels), value in found.items() if name == "geard_measure_failed" and value}
    assert failed == {"containers", "images", "jobs"}
    assert found["geard_ports_free", (("protocol", "tcp"),)] > 0
    assert ("geard_gears_wanted", ()) not in found


def test_promtool_has_nothing_to_say(rooms: RoomsAgent) -> None:
    promtool = shutil.which("promtool", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if promtool is None:
        pytest.skip("there is no promtool: scripts/test takes it out of apt's prometheus")
    assert rooms.there.ask("PUT", "/container/web?follow=1", {"Image": "geard/sample"}).status == 200
    text = rooms.there.ask("GET", "/metrics").text
    judged = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (judged.returncode, judged.stdout + judged.stderr) == (0, "")


def test_names_are_as_prometheus_wants_them(rooms: RoomsAgent) -> None:
    text = rooms.there.ask("GET", "/metrics").text
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families) > 15
    for family in families:
        assert family.documentation, family.name
        assert re.fullmatch(r"(geard|process)_[a-z_]+", family.name)
        assert family.type in ("gauge", "counter", "histogram")
        names = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert all(name.endswith("_total") for name in names)
        elif family.type == "gauge":
            assert not any(name.endswith(("_total", "_count", "_sum", "_bucket")) for name in names)


def test_gear_routes_prints_the_same_description_without_an_agent(rooms: RoomsAgent) -> None:
    argv = [sys.executable, "-m", "geard", "routes", "-o", "openapi"]
    printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert printed == rooms.there.ask("GET", "/openapi.json").text
