"""An agent on sockets of its own, with three requests that no room has, and a plain HTTP client."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest

from geard import catalog
from geard.daemon import server
from geard.daemon.notify import Notifier
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import Conflict, Invalid, NotFound, Unavailable
from geard.host import Host
from geard.host.paths import Paths
from geard.request import Answer, Nothing, Request, Route, Stream


class Bell(Answer):
    id: str
    rung: int = 0

    def text(self) -> str:
        return f"{self.id} rang {self.rung} times"

    def headers(self) -> dict[str, str]:
        return {"X-PortMapping": "8080:4000"}


class Bells(Answer):
    bells: tuple[Bell, ...] = ()


class RingBell(Request[Bell]):
    """Rings so often; each stroke is a step of the report. `fail` says how it ends."""

    route = Route("PUT", "/bell/{id}", also=("POST",))

    id: str
    times: int = 1
    hold: bool = False
    fail: str = ""
    wait: bool = False


class RemoveBell(Request[Nothing]):
    route = Route("DELETE", "/bell/{id}")

    id: str


class RestartBell(Request[Bell]):
    route = Route("POST", "/container/{id}/restart")

    id: str


class GetBell(Request[Bell]):
    route = Route("GET", "/bell/{id}", scope="read")

    id: str


class ListBells(Request[Bells]):
    route = Route("GET", "/bells", scope="read", text=False)

    all: bool = False


class Stroke(Answer):
    line: str

    def text(self) -> str:
        return self.line


class HearBell(Request[Stream[Stroke]]):
    route = Route("GET", "/bell/{id}/sound", scope="read")

    id: str
    endless: bool = False


@dataclass
class Belfry:
    """What the operations below did, and what holds them up."""

    rung: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    heard_out: list[str] = field(default_factory=list[str])
    go_on: threading.Event = field(default_factory=threading.Event)

    async def held(self) -> None:
        while not self.go_on.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.005)


belfry = Belfry()


@operation
async def ring_bell(request: RingBell, work: Work) -> Bell:
    if request.fail == "at once":
        raise Conflict(f"{request.id} is being cleaned", hint="come back later", data=[1])
    if request.fail == "bug":
        raise ZeroDivisionError("bells divided by none")
    belfry.rung[request.id] += 1

    async def ring() -> None:
        for stroke in range(request.times):
            work.say("ringing", f"stroke {stroke}", request.id)
        if request.hold:
            await belfry.held()
            work.say("rung", "held no more", request.id)
        if request.fail:
            raise Unavailable("the rope broke", hint="mend it")

    work.then(ring)
    return Bell(id=request.id, rung=belfry.rung[request.id])


@operation
async def remove_bell(request: RemoveBell, work: Work) -> Nothing:
    del belfry.rung[request.id]
    return Nothing()


@operation
async def restart_bell(request: RestartBell, work: Work) -> Bell:
    raise Conflict("it is stopping")


@operation
async def get_bell(request: GetBell, work: Work) -> Bell:
    if request.id == "none":
        raise NotFound("there is no bell none")
    return Bell(id=request.id, rung=belfry.rung.get(request.id, 0))


@operation
async def list_bells(request: ListBells, work: Work) -> Bells:
    if request.all:
        raise Invalid("not all")
    return Bells(bells=(Bell(id="big"),))


@operation
async def hear_bell(request: HearBell, work: Work) -> AsyncIterator[Stroke]:
    if request.id == "none":
        raise NotFound("there is no bell none")
    try:
        for stroke in ("ding", "", "dong"):
            yield Stroke(line=stroke)
        while request.endless:
            await asyncio.sleep(0.005)
            yield Stroke(line="…")
    finally:
        belfry.heard_out.append(request.id)


OPERATIONS = (RingBell, RemoveBell, RestartBell, GetBell, ListBells, HearBell)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(str(self.path))


@dataclass(frozen=True)
class RunningAgent:
    socket: Path
    port: int

    def connection(self) -> UnixConnection:
        return UnixConnection(self.socket)

    def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        tcp: bool = False,
        **headers: str,
    ) -> Reply:
        """One request on a connection of its own; header names are written with _ for -."""
        connection: http.client.HTTPConnection = self.connection()
        if tcp:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, content, named)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read().decode())
        finally:
            connection.close()


def bare_host(folder: Path) -> Host:
    """Folders and settings, and nothing else."""
    nothing = cast(Any, None)
    paths = Paths(*(folder / name for name in ("containers", "run", "systemd", "etc", "state")))
    return Host(paths, nothing, {}, nothing)


@contextmanager
def running_agent(folder: Path, *, let_go: bool = True) -> Generator[RunningAgent, None, None]:
    sockets = server.bound_sockets(server.Listen(folder / "geard.sock", 0))
    where = RunningAgent(folder / "geard.sock", sockets[1].getsockname()[1])
    loop, stop, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    class Heard(Notifier):
        def say(self, state: str, *fds: int) -> None:
            up.set()

    def be_agent() -> None:
        with (
            patch.object(catalog, "doors", return_value=()),
            patch.object(server, "all_operations", return_value=OPERATIONS),
            asyncio.Runner(loop_factory=lambda: loop) as runner,
        ):
            runner.run(server.run(bare_host(folder), sockets, stop, Heard()))

    thread = threading.Thread(target=be_agent, name="agent")
    thread.start()
    try:
        while not up.wait(0.05):
            assert thread.is_alive()
        yield where
    finally:
        if let_go:
            belfry.go_on.set()
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    belfry.rung.clear()
    belfry.heard_out.clear()
    belfry.go_on.clear()
    tmp_path.chmod(0o755)
    with running_agent(tmp_path) as found:
        yield found
