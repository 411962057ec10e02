"""`gear` as somebody at a terminal has it, on a host of fakes: without an agent and through one."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest import mock

from blockbuster import BlockBuster
from tests.fakes.host import FakeHost, Tree, make_host, tree

from geard.cli import asking
from geard.cli import main as cli
from geard.containers import lifecycle
from geard.daemon import server
from geard.daemon.local import LocalPerformer
from geard.daemon.notify import Notifier
from geard.host import Host
from geard.identifiers import Place
from geard.transport import Transport, http
from geard.transport.http import HttpTransport
from geard.transport.local import LocalTransport

Way = Literal["local", "http"]


@dataclass(frozen=True)
class Said:
    """What came of one command line."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class _OnTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Terminal:
    """`gear(...)` runs one command line; `gear.ok(...)` one that must succeed, and returns what it printed."""

    host: FakeHost
    way: Way

    def __call__(self, *words: str, stdin: str | bytes = "", terminal: bool = False) -> Said:
        # A new process has a new session.
        asking.session.request_id, asking.session.here = "", None
        asking.session.failures.clear()
        asking.session.behind.clear()
        kind = _OnTerminal if terminal else io.StringIO
        out, err = kind(), kind()
        given = io.TextIOWrapper(io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin), encoding="utf-8")
        with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "stdin", given):
            code = cli.run(list(words))
        return Said(code, out.getvalue(), err.getvalue())

    def ok(self, *words: str, stdin: str | bytes = "") -> str:
        said = self(*words, stdin=stdin)
        assert said.code == 0, f"gear {' '.join(words)} ended with {said.code}\n{said.out}{said.err}"
        return said.out

    def tree(self) -> Tree:
        """All that is on the host's disk."""
        return tree(self.host.folder)


@contextmanager
def terminal(folder: Path, way: Way, host: FakeHost | None = None) -> Generator[Terminal]:
    host = host or make_host(folder)
    with ExitStack() as stack:
        # A start is watched for its first moments; these programs are quick to die.
        stack.enter_context(mock.patch.object(lifecycle, "SETTLE_SECONDS", 0.007))
        stack.enter_context(_nothing_blocks())
        stack.enter_context(_session(host, folder, way))
        yield Terminal(host, way)


# Looking at a file or reading a small one is done where it is needed; all else that waits belongs into a thread.
QUICK = (
    *("os.stat", "os.scandir", "os.listdir", "os.readlink", "os.access", "os.getcwd", "os.path.abspath"),
    *("os.path.islink", "os.path.samestat", "io.BufferedReader.read", "io.TextIOWrapper.read"),
    *("threading.Lock.acquire", "threading.Lock.acquire_lock"),
)


@contextmanager
def _nothing_blocks() -> Generator[None]:
    """A call that blocks the event loop, made by geard, is an error."""
    guard = BlockBuster(["geard"])
    for name in QUICK:
        del guard.functions[name]
    for function in guard.functions.values():
        # what a unit of systemd's does, done in place by the fake
        function.can_block_in("tests/fakes/host.py", {"_pull", "_prepare"})
        # below /run, a tmpfs: the order for a pull, the word that a stop is owed
        function.can_block_in("geard/images/pulling.py", {"write"})
        function.can_block_in("geard/containers/lifecycle.py", {"stop"})
        # … and the records of requests at work; one key, once, is on the disk
        function.can_block_in("geard/dispatch/records.py", {"claim", "add", "close", "discard", "_machine_key"})
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


@contextmanager
def _session(host: FakeHost, folder: Path, way: Way) -> Generator[None]:
    session = asking.session
    before = dict(vars(session))
    try:
        if way == "local":
            with _local(host) as make:
                session.local, session.here = make, None
                with mock.patch.object(os, "geteuid", return_value=0):
                    yield
        else:
            session.local = session.here = None
            with agent(host, folder) as socket, _connections(), mock.patch.object(asking, "SOCKET", str(socket)):
                yield
    finally:
        vars(session).update(before)


@contextmanager
def _connections() -> Generator[None]:
    """Connections are closed by the end of the process, and here."""
    made: list[HttpTransport] = []

    def make(at: Place | str, request_id: str | None = None) -> HttpTransport:
        made.append(HttpTransport(at, request_id))
        return made[-1]

    with mock.patch.object(http, "HttpTransport", make):
        yield
    for transport in made:
        transport.close()


@contextmanager
def _local(host: Host) -> Generator[Callable[[str], Transport]]:
    made: list[LocalTransport] = []

    def make(request_id: str) -> Transport:
        made.append(LocalTransport(lambda: LocalPerformer(host), request_id))
        return made[-1]

    yield make
    for transport in made:
        # The real `gear` leaves its loop to the end of the process.
        loop = transport._loop  # pyright: ignore[reportPrivateUsage]
        transport.wait(_end_of_tasks())
        loop.call_soon_threadsafe(loop.stop)
        while loop.is_running():
            threading.Event().wait(0.001)
        loop.close()


async def _end_of_tasks() -> None:
    """Nothing but this may be left on the loop of a `gear` that has ended."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"still running when the command had ended: {left}"


@contextmanager
def agent(host: Host, folder: Path) -> Generator[Path]:
    """The real server on a unix socket, in a thread."""
    where = folder / "geard.sock"
    with serving(host, server.bound_sockets(server.Listen(where, None))):
        yield where


@contextmanager
def serving(host: Host, sockets: Sequence[socket.socket]) -> Generator[None]:
    """The real server on sockets of one's own, in a thread."""
    loop, stop, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    broken: list[BaseException] = []

    class Heard(Notifier):
        def say(self, state: str, *fds: int) -> None:
            up.set()

    def be_agent() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(server.run(host, sockets, stop, Heard()))
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for it
            broken.append(error)
        finally:
            up.set()

    thread = threading.Thread(target=be_agent, name="agent")
    thread.start()
    try:
        assert up.wait(10), "the agent does not come up"
        assert not broken, broken
        yield
    finally:
        if not broken:
            loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive(), "the agent does not end"
    assert not broken, broken
