"""A connection that somebody else made, or made for somebody else: who it counts for.

What the kernel tells is who *made* the socket. docs/SECURITY.md says what follows from that, and which of it is
not defended; those are here as well, so that the page stays true.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
from tests.daemon.belfry import RunningAgent, belfry
from tests.daemon.test_loopback import NOBODY, as_user, needs_root

ASK = b"PUT /bell/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"

pytestmark = needs_root


def asked(line: socket.socket) -> int:
    """The status of the answer to a change that is asked over `line`."""
    line.settimeout(10)
    line.sendall(ASK)
    return int(line.recv(65536).split()[1])


@contextmanager
def made_by(uid: int, make: Callable[[], socket.socket]) -> Generator[socket.socket]:
    """A socket that a process of that user made and handed over; the process has ended."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)

    def hand_over() -> None:
        with make() as line:
            socket.send_fds(theirs, [b"x"], [line.fileno()])

    with ours, theirs, as_user(uid, hand_over, stay=False):
        _, (number,), _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=number) as line:
            yield line


def test_one_that_nobody_made_and_root_was_handed_is_nobodys(agent: RunningAgent) -> None:
    """Nobody gains by having a program of root's use a socket of his."""
    with made_by(NOBODY, lambda: socket.create_connection(("127.0.0.1", agent.port))) as line:
        assert asked(line) == 403
    with made_by(NOBODY, socket.socket) as line:  # root connects it
        line.connect(("127.0.0.1", agent.port))
        assert asked(line) == 403
    assert belfry.rung["a"] == 0


def test_one_that_root_made_and_nobody_was_handed_is_roots(agent: RunningAgent) -> None:
    """Not defended: whoever hands out a connection of root's hands out what it may do."""
    answers, tell = os.pipe()
    with socket.create_connection(("127.0.0.1", agent.port)) as line:
        with as_user(NOBODY, lambda: void(os.write(tell, str(asked(line)).encode())), stay=False):
            assert os.read(answers, 10) == b"200"
        assert asked(line) == 200  # and goes on being root's
    os.close(answers)
    os.close(tell)


def test_nobody_cannot_give_his_socket_to_root(agent: RunningAgent) -> None:
    def give_away() -> socket.socket:
        line = socket.create_connection(("127.0.0.1", agent.port))
        with pytest.raises(PermissionError):
            os.fchown(line.fileno(), 0, 0)
        return line

    with made_by(NOBODY, give_away) as line:
        assert asked(line) == 403


def test_a_program_with_roots_rights_for_a_while(agent: RunningAgent) -> None:
    """What a set-uid program makes while it is root is root's, whoever ran it: not defended, as for any file it
    opens then. What it makes before, or after it has let go of that, is not.
    """

    def half_root(uid: int) -> socket.socket:
        os.seteuid(uid)
        try:
            return socket.create_connection(("127.0.0.1", agent.port))
        finally:
            os.seteuid(0)

    with half_root(NOBODY) as line:
        assert asked(line) == 403
    os.setresuid(NOBODY, 0, 0)
    try:
        with socket.create_connection(("127.0.0.1", agent.port)) as line:
            assert asked(line) == 200
    finally:
        os.setresuid(0, 0, 0)


def test_a_forwarder_is_asked_for_whoever_comes_to_it(agent: RunningAgent) -> None:
    """One that root runs (`ssh -L` as root, socat, a proxy with localhost among its targets) opens the door to all
    who reach it: not defended. One of another user's opens nothing, not even for root.
    """
    for runs, comes, expected in ((0, NOBODY, b"200"), (NOBODY, 0, b"403")):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            answers, tell = os.pipe()

            def forward(listener: socket.socket = listener) -> None:
                came, _ = listener.accept()
                with came, socket.create_connection(("127.0.0.1", agent.port)) as onward:
                    onward.settimeout(10)
                    onward.sendall(came.recv(65536))
                    came.sendall(onward.recv(65536))

            def come(port: int = listener.getsockname()[1], tell: int = tell) -> None:
                with socket.create_connection(("127.0.0.1", port)) as line:
                    os.write(tell, str(asked(line)).encode())

            forwarder = os.fork()
            if forwarder == 0:
                try:
                    os.setresuid(runs, runs, runs)
                    forward()
                finally:
                    os._exit(0)
            with as_user(comes, come, stay=False):
                assert os.read(answers, 10) == expected
            os.waitpid(forwarder, 0)
            os.close(answers)
            os.close(tell)


def void(_: object) -> None:
    return None
