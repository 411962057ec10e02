"""Whether a program takes connections is asked of the network, and nobody waits for what it cannot tell."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator

import pytest

from geard.deployments.answering import await_answers


@pytest.fixture
def server() -> Generator[socket.socket]:
    """Bound, and not listening yet."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield found


def test_one_that_listens(server: socket.socket) -> None:
    server.listen()
    assert await_answers([server.getsockname()], 0)


def test_one_that_listens_later_is_waited_for(server: socket.socket) -> None:
    begins = threading.Timer(0.3, server.listen)
    begins.start()
    began = time.monotonic()
    assert await_answers([server.getsockname()], 60)
    assert time.monotonic() - began >= 0.29
    begins.join()


def test_one_that_goes_on_refusing(server: socket.socket) -> None:
    assert not await_answers([server.getsockname()], 0.2)


def test_one_port_of_several_is_enough(server: socket.socket) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        server.listen()
        assert await_answers([other.getsockname(), server.getsockname()], 0)


def test_what_cannot_be_reached_tells_nothing() -> None:
    began = time.monotonic()
    assert await_answers([("nowhere.invalid", 80)], 600)
    assert time.monotonic() - began < 300
