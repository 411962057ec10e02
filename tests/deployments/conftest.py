"""Several hosts of fakes, each with an agent, and `gear` on a machine that is none of them."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.fakes.host import FakeHost, make_host
from tests.fakes.terminal import Said, Terminal, agent

from geard.cli import asking
from geard.containers import lifecycle
from geard.deployments import execution
from geard.failures import Unavailable
from geard.identifiers import Place
from geard.transport import http
from geard.transport.http import HttpTransport
from geard.transport.wire import Call

NAMES = ("h1", "h2", "h3")


@dataclass
class Machines:
    """`gear(…)` on a laptop; `hosts` by name; those in `down` do not answer."""

    gear: Terminal
    hosts: Mapping[str, FakeHost]
    down: set[str]
    sent: list[str]
    """what was asked: METHOD PATH, with the host before it"""
    awaited: list[tuple[list[tuple[str, int]], str]]
    """places of which an answer was awaited, and what had been asked for last"""

    def __call__(self, *words: str, stdin: str = "", terminal: bool = False) -> Said:
        self.sent.clear()
        self.awaited.clear()
        return self.gear(*words, stdin=stdin, terminal=terminal)

    def ok(self, *words: str) -> str:
        said = self(*words)
        assert said.code == 0, f"gear {' '.join(words)} ended with {said.code}\n{said.out}{said.err}"
        return said.out

    @property
    def writes(self) -> list[str]:
        return [each for each in self.sent if " GET " not in each]

    def running(self, host: str) -> list[str]:
        """The gears that run there."""
        units = self.hosts[host].systemd._units  # pyright: ignore[reportPrivateUsage]
        return sorted(name[4:-8] for name, unit in units.items() if name[:4] == "ctr-" and unit.active == "active")

    def pid(self, host: str, id: str) -> int:
        return self.hosts[host].systemd._units[f"ctr-{id}.service"].pid  # pyright: ignore[reportPrivateUsage]

    def address(self, host: str, id: str) -> str:
        text = (self.hosts[host].paths.base / "units" / id[:2] / f"ctr-{id}.run").read_text()
        found: str = json.loads(text.splitlines()[0].removeprefix("# geard: "))["Ipv4"]
        return found

    def links(self, host: str, id: str) -> list[str]:
        path = self.hosts[host].paths.base / "ports" / "links" / id[:2] / id
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Machines]:
    tmp_path.chmod(0o755)
    laptop = tmp_path / "laptop"
    laptop.mkdir()
    monkeypatch.chdir(laptop)
    made: list[HttpTransport] = []
    down: set[str] = set()
    sent: list[str] = []
    awaited: list[tuple[list[tuple[str, int]], str]] = []

    def await_answers(places: list[tuple[str, int]]) -> bool:
        awaited.append((places, sent[-1].partition("?")[0]))
        return True

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(lifecycle, "SETTLE_SECONDS", 0.007))
        hosts: dict[str, FakeHost] = {}
        sockets: dict[str, Path] = {}
        for name in NAMES:
            folder = tmp_path / name
            folder.mkdir()
            hosts[name] = make_host(folder)
            sockets[name] = stack.enter_context(agent(hosts[name], folder))

        class Heard(HttpTransport):
            def __init__(self, at: Place | str, request_id: str | None = None) -> None:
                host = at.host if isinstance(at, Place) else ""
                self.host = host
                super().__init__(sockets.get(host, "/nowhere"), request_id)
                self._name = host
                made.append(self)

            def _connected(self) -> HTTPConnection:
                if self.host in down:
                    raise Unavailable(f"no agent answers at {self.host}")
                return super()._connected()

            def _ask(self, call: Call, accept: str, id: str, further: Any = None) -> HTTPResponse:
                sent.append(f"{self.host} {call.method} {call.target}")
                return super()._ask(call, accept, id, further)

        stack.enter_context(mock.patch.object(http, "HttpTransport", Heard))
        stack.enter_context(mock.patch.object(execution, "await_answers", await_answers))
        session = asking.session
        before = dict(vars(session))
        session.local = session.here = None
        yield Machines(Terminal(hosts["h1"], "http"), hosts, down, sent, awaited)
        vars(session).update(before)
        for transport in made:
            transport.close()
