"""This side of a session: what it does to a terminal, to signals, to whoever reads its output."""

from __future__ import annotations

import os
import signal
import socket
import termios
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import pytest

from geard.cli.attaching import DETACHED, attach
from geard.cli.detaching import Keys, parse_keys
from geard.exchange import Exit, Failed, FromAsker, Input, InputEnd, Output, Signal, Size, ToAsker
from geard.failures import Invalid, Unavailable
from geard.frames import encode, from_asker
from geard.transport.session import HttpSession


@pytest.fixture(autouse=True)
def heeded() -> Generator[None]:
    """Signals as at a terminal: who starts tests in the background has them ignored, and ignored they stay."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@dataclass
class Other:
    """The other end of a session, in a thread: answers each thing it is told."""

    line: socket.socket
    answers: dict[FromAsker, list[ToAsker]]
    first: list[ToAsker]

    def __post_init__(self) -> None:
        self.heard: list[FromAsker] = []

    def run(self) -> None:
        decoder = from_asker()
        self.line.sendall(b"".join(map(encode, self.first)))
        while data := self.line.recv(4096):
            for event in decoder.feed(data):
                self.heard.append(event)
                if answers := self.answers.get(event):  # even nothing cannot be sent to who has left
                    self.line.sendall(b"".join(map(encode, answers)))


@contextmanager
def session(answers: dict[FromAsker, list[ToAsker]], *first: ToAsker) -> Generator[tuple[HttpSession, Other]]:
    ours, theirs = socket.socketpair()
    other = Other(theirs, answers, list(first))
    thread = threading.Thread(target=other.run)
    thread.start()
    yield HttpSession(ours, "there"), other
    thread.join(10)
    assert not thread.is_alive(), "the session was not closed"
    theirs.close()


@contextmanager
def pipe(given: bytes = b"") -> Generator[tuple[int, int]]:
    read, write = os.pipe()
    os.write(write, given)
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


def test_input_goes_there_and_output_comes_here() -> None:
    with pipe(b"in") as (stdin, writer), pipe() as (reader, stdout):
        os.close(writer)
        with session({InputEnd(): [Output(b"out"), Exit(7)]}) as (there, other):
            assert attach(there, stdin=True, tty=False, files=(stdin, stdout, stdout)) == 7
        assert other.heard == [Input(b"in"), InputEnd()]
        assert os.read(reader, 100) == b"out"


def test_signals_go_there_and_mean_what_they_meant_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pipe() as (stdin, _), session({Signal("INT"): [Exit(130)]}) as (there, _):
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        assert attach(there, stdin=False, tty=False, files=(stdin, 1, 2)) == 130
        timer.join()
    assert signal.getsignal(signal.SIGINT) == before


def test_a_hang_up_leaves() -> None:
    with pipe() as (stdin, _), session({}) as (there, _):
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP))
        timer.start()
        assert attach(there, stdin=True, tty=False, files=(stdin, 1, 2)) == 129
        timer.join()


@pytest.mark.parametrize("end", [Exit(3), Failed(Unavailable("gone"))])
def test_a_terminal_is_raw_meanwhile_and_as_it_was_afterwards(end: ToAsker) -> None:
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    with session({Input(b"\x03"): [end]}) as (there, other):
        timer = threading.Timer(0.1, os.write, (master, b"\x03"))
        timer.start()
        with pytest.raises(Unavailable) if isinstance(end, Failed) else nullcontext():
            assert attach(there, stdin=True, tty=True, files=(slave, 1, 2)) == 3
        timer.join()
    assert other.heard == [Input(b"\x03")], "a key, not a signal"
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_the_size_follows() -> None:
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (33, 99))
    with session({Size(33, 99): [Exit(0)]}) as (there, _):
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGWINCH))
        timer.start()
        assert attach(there, stdin=True, tty=True, files=(slave, 1, 2)) == 0
        timer.join()
    os.close(master)
    os.close(slave)


def test_a_terminal_that_goes_away_is_a_hang_up() -> None:
    master, slave = os.openpty()
    with session({}) as (there, _):
        timer = threading.Timer(0.1, os.close, (master,))
        timer.start()
        assert attach(there, stdin=True, tty=True, files=(slave, 1, 2)) == 129
        timer.join()
    os.close(slave)


def test_nobody_reads_the_output() -> None:
    with pipe() as (stdin, _), pipe() as (reader, stdout), session({}, Output(b"x" * 100)) as (there, _):
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            attach(there, stdin=False, tty=False, files=(stdin, stdout, stdout))


def test_the_line_breaks() -> None:
    with pipe() as (stdin, _), pipe() as (reader, stdout):
        ours, theirs = socket.socketpair()
        theirs.sendall(encode(Output(b"before")))
        theirs.close()
        with pytest.raises(Unavailable, match="the connection to there broke"):
            attach(HttpSession(ours, "there"), stdin=False, tty=False, files=(stdin, stdout, stdout))
        assert os.read(reader, 100) == b"before"


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-@", b"\0"), ("ctrl-],x", b"\x1dx"), ("~,.", b"~."), ("", b"")],
)
def test_keys_to_leave_by(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ctrl-p,", "alt-x", "\xe4", "ctrl-p ctrl-q"])
def test_no_keys_to_leave_by(text: str) -> None:
    with pytest.raises(Invalid):
        parse_keys(text)


@pytest.mark.parametrize(
    ("typed", "passed", "left"),
    [
        ([b"ab\x10\x11c"], b"ab", True),
        ([b"a\x10", b"\x11"], b"a", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10", b"\x10", b"\x11"], b"\x10", True),
        ([b"\x11\x10"], b"\x11", False),  # the last is held until the next key tells
    ],
)
def test_keys_are_found_however_they_are_typed(typed: list[bytes], passed: bytes, left: bool) -> None:
    keys = Keys(parse_keys("ctrl-p,ctrl-q"))
    taken = [keys.take(part) for part in typed]
    assert (b"".join(data for data, _ in taken), taken[-1][1]) == (passed, left)
    assert Keys(b"").take(typed[0]) == (typed[0], False)


def test_keys_leave_a_program_and_the_terminal_is_as_it_was() -> None:
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    with session({Input(b"ls"): []}) as (there, other):

        def type_when_raw() -> None:
            while termios.tcgetattr(slave) == before:
                time.sleep(0.01)
            os.write(master, b"ls\x10\x11")

        timer = threading.Thread(target=type_when_raw, daemon=True)
        timer.start()
        assert attach(there, stdin=True, tty=True, files=(slave, 1, 2), detach=b"\x10\x11") == DETACHED
        timer.join()
    assert other.heard == [Input(b"ls")]
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
