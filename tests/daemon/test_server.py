"""The agent as a process: where it listens, what it tells systemd, how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from tests.daemon.belfry import OPERATIONS, bare_host, belfry, running_agent

from geard import catalog
from geard.daemon import server
from geard.daemon.loopback import PeerLookup
from geard.daemon.notify import Notifier
from geard.daemon.server import Listen, bound_sockets, inherited_sockets
from geard.dispatch.dispatcher import Dispatcher
from geard.failures import Unavailable
from geard.host import Host

HERE = bare_host(Path("/nowhere"))


def test_it_binds_where_it_says_and_lets_in_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "geard" / "geard.sock"
    sockets = bound_sockets(Listen(path, 0))
    try:
        assert [each.getsockname()[0] for each in sockets[1:]][:1] == ["127.0.0.1"]
        assert stat.S_IMODE(path.stat().st_mode) in (0o600, 0o660)
        assert len({each.getsockname()[1] for each in sockets[1:]}) == 1
    finally:
        for each in sockets:
            each.close()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "geard.sock"
    for _ in range(2):
        for each in bound_sockets(Listen(path, None)):
            each.close()
    (alive,) = bound_sockets(Listen(path, None))
    with alive, pytest.raises(Unavailable, match="an agent answers there"):
        bound_sockets(Listen(path, None))
    path.unlink()
    path.write_text("precious")
    with pytest.raises(Unavailable, match="something else"):
        bound_sockets(Listen(path, None))
    assert path.read_text() == "precious"


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as failed:
            bound_sockets(Listen(tmp_path / "s", port))
    assert "already" in failed.value.hint
    assert not (tmp_path / "s").exists()


def test_no_other_process_takes_our_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "2")
    assert inherited_sockets() == []
    assert "LISTEN_FDS" not in os.environ


def test_systemd_hands_over_sockets(tmp_path: Path) -> None:
    """In a child, whose descriptors 3 to 5 are what systemd would have put there."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
                unix.bind(str(tmp_path / "s"))
                unix.listen()
                spare = [os.dup(fd) for fd in (unix.fileno(), tcp.fileno(), tcp.fileno(), tell)]
                above = max(spare) + 1  # whatever other tests have left open
                for number, fd in enumerate(spare):
                    os.dup2(fd, above + number)
                for number in range(3):
                    os.dup2(above + number, 3 + number)
                os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="3", LISTEN_FDNAMES="local:loopback:odd")
                found = [(each.fileno(), each.family.name) for each in inherited_sockets()]
                os.write(above + 3, repr(found).encode())
        finally:
            os._exit(0)
    os.close(tell)
    os.waitpid(child, 0)
    assert os.read(told, 1000).decode() == "[(3, 'AF_UNIX'), (4, 'AF_INET')]"
    os.close(told)


def test_systemd_keeps_listeners_for_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard, socket.create_server(("127.0.0.1", 0)) as tcp:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        Notifier().say("FDSTORE=1\nFDNAME=tls-192.0.2.7-43273", tcp.fileno())
        state, fds, _, _ = socket.recv_fds(heard, 100, 4)
        assert state == b"FDSTORE=1\nFDNAME=tls-192.0.2.7-43273"
        with socket.socket(fileno=fds[0]) as kept:
            assert kept.getsockname() == tcp.getsockname()


async def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        notifier = Notifier()
        assert "NOTIFY_SOCKET" not in os.environ
        notifier.say("READY=1")
        assert heard.recv(100) == b"READY=1"
        beating = asyncio.create_task(notifier.beat())
        await asyncio.sleep(0.05)
        beating.cancel()
        assert [heard.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3


def test_what_runs_may_end_and_its_asker_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    belfry.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        with running_agent(tmp_path) as agent:
            following = pool.submit(agent.ask, "PUT", "/bell/a?follow=true", {"Hold": True})
            listening = pool.submit(agent.ask, "GET", "/bell/a/sound?endless=true")
            time.sleep(0.1)
        # running_agent lets go and stops
        assert following.result().text.endswith("stroke 0\nheld no more\n")
        assert listening.result().text.startswith("ding\n")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_the_end_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.05)
    monkeypatch.setattr(server, "GOODBYE_SECONDS", 0.05)
    before = time.monotonic()
    belfry.go_on.clear()
    with running_agent(tmp_path, let_go=False) as agent:
        agent.ask("PUT", "/bell/a", {"Hold": True})
    assert time.monotonic() - before < 5


async def test_a_service_that_crashes_is_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "SERVICE_PAUSE_SECONDS", 0.01)
    starts = list[int]()

    async def crash_twice(host: Host, dispatcher: Dispatcher) -> None:
        starts.append(1)
        if len(starts) < 3:
            raise ZeroDivisionError

    module: Any = SimpleNamespace(__name__="geard.idling.services", serve=crash_twice)
    await server._keep(module, HERE, Dispatcher(HERE))  # pyright: ignore[reportPrivateUsage]
    assert len(starts) == 3
    assert "geard.idling.services met a bug" in caplog.text


async def test_sigterm_ends_it(tmp_path: Path) -> None:
    with (
        patch.object(catalog, "doors", return_value=()),
        patch.object(server, "all_operations", return_value=OPERATIONS),
    ):
        agent = asyncio.create_task(server.serve(bare_host(tmp_path), listen=Listen(tmp_path / "s", 0)))
        while not (tmp_path / "s").exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(agent, 10)


def test_without_a_word_from_the_kernel_loopback_stays_shut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def tell_nothing(self: PeerLookup, connection: object) -> None:
        return None

    monkeypatch.setattr(PeerLookup, "owner", tell_nothing)
    with running_agent(tmp_path) as agent:
        with pytest.raises(ConnectionRefusedError):
            agent.ask("GET", "/bell/a", tcp=True)
        assert agent.ask("GET", "/bell/a").status == 200
    assert "not listening on loopback" in caplog.text
