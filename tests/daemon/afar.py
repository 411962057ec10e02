"""An agent on a host of fakes that other machines reach by TLS, and such a machine."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from tests.daemon.belfry import Reply
from tests.fakes.host import FakeHost, make_host
from tests.fakes.terminal import Said, Terminal

from geard.cli import asking
from geard.daemon import server, tls
from geard.daemon.local import LocalPerformer
from geard.daemon.notify import Notifier
from geard.dispatch.operation import Operation, all_operations
from geard.request import Request
from geard.transport import known_hosts
from geard.transport.local import LocalTransport
from geard.trust import authority


def free_port() -> int:
    with socket.socket() as spare:
        spare.bind(("127.0.0.1", 0))
        return int(spare.getsockname()[1])


@dataclass(frozen=True)
class Afar:
    """The agent, as another machine sees it; `gear` is the terminal there, `root` the one on the agent's own."""

    host: FakeHost
    port: int
    loopback: int
    socket: Path
    away: Path
    connections: list[http.client.HTTPConnection] = field(default_factory=list[http.client.HTTPConnection])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def gear(self, *words: str, stdin: str = "") -> Said:
        """On the other machine, by a user whose hosts are in `away`."""
        with (
            mock.patch.object(known_hosts, "folder", return_value=self.away),
            mock.patch("os.geteuid", return_value=1000),
        ):
            return Terminal(self.host, "http")(*words, stdin=stdin)

    def root(self, *words: str, stdin: str = "") -> str:
        """On the agent's machine, in the process."""
        transport = LocalTransport(lambda: LocalPerformer(self.host))
        with (
            mock.patch.object(asking.session, "local", mock.Mock(return_value=transport)),
            mock.patch("os.geteuid", return_value=0),
        ):
            said = Terminal(self.host, "local")(*words, stdin=stdin)
        assert said.code == 0, said
        return said.out

    def invite(self, name: str = "laptop", *options: str) -> str:
        """The invitation in what `gear host invite` prints."""
        return self.root("host", "invite", name, *options).split()[1]

    def join(
        self, name: str = "h1", *, invitation: str = "", guest: str = "laptop", options: tuple[str, ...] = ()
    ) -> Said:
        return self.gear(
            "host", "add", name, self.address, stdin=(invitation or self.invite(guest, *options)) + "\n"
        )

    @property
    def authority(self) -> str:
        return authority.authority(self.host.paths, "h1").pem.decode()

    def context(self, certificate: Path | None = None, *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority)
        if version is not None:
            context.maximum_version = version
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    def connect(self, certificate: Path | None = None) -> http.client.HTTPSConnection:
        made = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.context(certificate))
        made.connect()
        self.connections.append(made)
        return made

    def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        token: str = "",
        certificate: Path | None = None,
        on: http.client.HTTPConnection | None = None,
        **headers: str,
    ) -> Reply:
        """One request; on a connection of its own unless one is given."""
        connection = on or self.connect(certificate)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            named["Authorization"] = f"Bearer {token}"
        connection.request(method, target, json.dumps(body).encode() if body is not None else None, named)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read().decode())

    def token(self, name: str = "ci", *options: str) -> str:
        return self.root("token", "create", name, *options).strip()


@contextmanager
def agent_afar(folder: Path) -> Generator[Afar]:
    host = make_host(folder / "host")
    sockets = server.bound_sockets(server.Listen(folder / "geard.sock", 0))
    port, loop, stop, up = free_port(), asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    where = Afar(host, port, sockets[1].getsockname()[1], folder / "geard.sock", folder / "away")
    broken: list[BaseException] = []

    class Heard(Notifier):
        def say(self, state: str, *fds: int) -> None:
            up.set() if state.startswith("READY=1") else None

    def be_agent() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(server.run(host, sockets, stop, Heard(), afar=(f"127.0.0.1:{port}",)))
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for it
            broken.append(error)
        finally:
            up.set()

    thread = threading.Thread(target=be_agent, name="agent")
    with ExitStack() as stack:
        # as root tests run, the machine's own hosts are none of theirs
        stack.enter_context(mock.patch.object(known_hosts, "ROOTS", folder / "roots"))
        stack.enter_context(mock.patch.object(server, "EXPEL_SECONDS", 0.05))
        stack.enter_context(mock.patch.object(server, "all_operations", of_rooms))
        stack.enter_context(mock.patch.object(tls, "LOOK_SECONDS", 0.05))
        thread.start()
        try:
            assert up.wait(20), "the agent does not come up"
            assert not broken, broken
            until(lambda: answers(port))
            (host.paths.settings / "geard.toml").write_text(f'[agent]\nlisten = ["127.0.0.1:{port}"]\n')
            yield where
        finally:
            for connection in where.connections:
                connection.close()
            if not broken:
                loop.call_soon_threadsafe(stop.set)
            thread.join(20)
            assert not thread.is_alive(), "the agent does not end"
    assert not broken, broken


def of_rooms() -> dict[type[Request[Any]], Operation]:
    """Not those that other tests have made up."""
    return {kind: each for kind, each in all_operations().items() if kind.__module__.startswith("geard.")}


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def until(question: Callable[[], Any], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.02)
