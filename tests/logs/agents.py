"""An agent on a socket of its own, with a journal of its own that a test writes."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.host import make_host
from tests.logs.writing import Writer

from geard.daemon import server
from geard.daemon.notify import Notifier
from geard.host import Host
from geard.host.journal import Journal
from geard.host.journal_writing import JournalWriter


@dataclass
class Agent:
    socket: Path
    writer: Writer
    host: Host

    def curl(self, target: str, *more: str) -> subprocess.Popen[str]:
        argv = ["curl", "--silent", "--no-buffer", "--unix-socket", str(self.socket), *more]
        return subprocess.Popen([*argv, f"http://localhost{target}"], stdout=subprocess.PIPE, text=True)

    def told(self, target: str, *more: str) -> str:
        return self.curl(target, *more).communicate(timeout=20)[0]

    @contextmanager
    def running(self) -> Generator[None]:
        """The agent, from a start to an end."""
        sockets = server.bound_sockets(server.Listen(self.socket, 0))
        loop, stop, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

        class Heard(Notifier):
            def say(self, state: str, *fds: int) -> None:
                up.set()

        def be_agent() -> None:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(server.run(self.host, sockets, stop, Heard()))

        thread = threading.Thread(target=be_agent, name="agent")
        thread.start()
        try:
            assert up.wait(10)
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(20)
        assert not thread.is_alive()
        assert self.host.journal.readers == 0


class Nowhere(JournalWriter):
    """What geard itself would write."""

    def send(self, entry: Mapping[str, str]) -> bool:
        return True


@contextmanager
def made_agent(folder: Path) -> Generator[Agent]:
    """One that does not run yet; its gear `web` has written `line 1` to `line 15`."""
    folder.chmod(0o755)
    (folder / "journal").mkdir()
    writer = Writer(folder / "journal")
    for number in range(1, 16):
        writer.write(f"line {number}")
    writer.settle()
    host = make_host(folder / "host")
    unit = host.paths.base / "units" / "we" / "ctr-web.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    journal = Journal(writer.folder, writer=Nowhere())
    yield Agent(folder / "geard.sock", writer, Host(host.paths, host.systemd, host.engines, journal, host.rules))
    writer.end()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with made_agent(tmp_path) as made, made.running():
        yield made
