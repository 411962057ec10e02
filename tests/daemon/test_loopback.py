"""The attacks that a look-up of the peer's uid must withstand, each with a real socket of another user."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.daemon.belfry import RunningAgent, belfry

from geard.daemon.cgroups import Cgroups, container_between
from geard.daemon.doors import Doors
from geard.daemon.loopback import Found, PeerLookup, parse_answer, probe
from geard.failures import Denied, Unauthenticated

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")


@contextmanager
def as_user(uid: int, deed: Callable[[], None], *, stay: bool = True) -> Generator[None, None, None]:
    """A child of that uid that does `deed`; inside the block it is done, and the child is gone unless it stays."""
    ready, say_ready = os.pipe()
    hold, let_go = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(let_go)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            deed()
            os.write(say_ready, b"x")
            if stay:
                os.read(hold, 1)
            status = 0
        finally:
            os._exit(status)
    os.close(say_ready)
    os.close(hold)
    try:
        done = os.read(ready, 1)
        if not stay:
            os.waitpid(child, 0)
        assert done == b"x"
        yield
    finally:
        os.close(ready)
        os.close(let_go)
        if stay:
            os.waitpid(child, 0)


@pytest.fixture
def doors() -> Iterator[Doors]:
    doors = Doors()
    doors.open_loopback()
    yield doors
    doors.close()


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, host = request.param
    with socket.create_server((host, 0), family=family) as listener:
        yield listener


def caller(address: tuple[str, int], *, send: bytes = b"") -> Callable[[], None]:
    def call() -> None:
        connection = socket.create_connection(address[:2])
        connection.sendall(send)
        _kept.append(connection)

    return call


_kept: list[socket.socket] = []


@needs_root
def test_who_made_the_socket_is_told(listener: socket.socket) -> None:
    lookup = PeerLookup()
    for uid in (0, NOBODY):
        with as_user(uid, caller(listener.getsockname())):
            accepted, _ = listener.accept()
            with accepted:
                found = lookup.owner(accepted)
            assert found is not None
            assert found.uid == uid
    lookup.close()


@needs_root
def test_a_dual_stack_listener_knows_its_ipv4_clients() -> None:
    lookup = PeerLookup()
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        with as_user(NOBODY, caller(("127.0.0.1", listener.getsockname()[1]))):
            accepted, _ = listener.accept()
            with accepted:
                found = lookup.owner(accepted)
        assert found is not None
        assert found.uid == NOBODY
    lookup.close()


@needs_root
def test_only_root_comes_in(doors: Doors, listener: socket.socket) -> None:
    with as_user(NOBODY, caller(listener.getsockname())):
        accepted, _ = listener.accept()
        with accepted, pytest.raises(Denied) as denied:
            doors.asker(accepted)
        assert "sudo" in denied.value.hint
    with as_user(0, caller(listener.getsockname())):
        accepted, _ = listener.accept()
        with accepted:
            assert doors.asker(accepted).uid == 0


@needs_root
def test_who_sends_and_closes_is_nobody_though_the_kernel_says_root(doors: Doors, listener: socket.socket) -> None:
    for _ in range(20):
        with as_user(NOBODY, caller(listener.getsockname(), send=b"DELETE /containers HTTP/1.1\r\n"), stay=False):
            accepted, _ = listener.accept()
            with accepted, pytest.raises(Unauthenticated):
                doors.asker(accepted)


class Remembered:
    """An accepted socket that was asked for its addresses before the attack: the narrowest moment there is."""

    def __init__(self, accepted: socket.socket) -> None:
        self._accepted = accepted
        self._names: list[tuple[str, int]] = [accepted.getsockname(), accepted.getpeername()]
        self.family = accepted.family

    def getsockname(self) -> tuple[str, int]:
        return self._names[0]

    def getpeername(self) -> tuple[str, int]:
        return self._names[1]

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        return self._accepted.getsockopt(level, optname, buflen)


@needs_root
def test_the_address_of_a_reset_connection_taken_by_root(doors: Doors) -> None:
    """Nobody's connection is reset and root's takes its port before the look-up: our own end gives it away."""
    for _ in range(20):
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as roots:
            with socket.socket() as spare:
                spare.bind(("127.0.0.1", 0))
                contested = spare.getsockname()

            def call(address: tuple[str, int] = listener.getsockname(), own: tuple[str, int] = contested) -> None:
                connection = socket.create_connection(address, source_address=own)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                _kept.append(connection)

            with as_user(NOBODY, call):
                accepted, _ = listener.accept()
                attacked = Remembered(accepted)
            # the child has ended, and reset its connection
            roots.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            roots.bind(contested)
            roots.connect(listener.getsockname())
            with accepted, pytest.raises(Unauthenticated):
                doors.asker(attacked)


@needs_root
def test_over_the_real_door(agent: RunningAgent) -> None:
    """Nobody's request is refused, and one that is sent and closed at once is not done as root."""
    body = b"PUT /bell/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    answers, tell = os.pipe()

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", agent.port)) as line:
            line.sendall(body)
            os.write(tell, line.recv(200))

    with as_user(NOBODY, ask, stay=False):
        assert os.read(answers, 200).startswith(b"HTTP/1.1 403 Forbidden\r\n")
    for _ in range(20):

        def ask_and_leave() -> None:
            with socket.create_connection(("127.0.0.1", agent.port)) as line:
                line.sendall(body)

        with as_user(NOBODY, ask_and_leave, stay=False):
            pass
    assert agent.ask("GET", "/bell/a", tcp=True).text == "a rang 0 times\n"
    assert belfry.rung["a"] == 0


@needs_root
def test_the_unix_socket_is_for_root_and_the_group(tmp_path: Path) -> None:
    doors = Doors()
    doors.group = 4321
    path = tmp_path / "sock"
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o666)

        def call() -> None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(path))
            _kept.append(connection)

        with as_user(NOBODY, call):
            accepted, _ = listener.accept()
            with accepted, pytest.raises(Denied):
                doors.asker(accepted)
        with as_user(4321, call):  # whose group has the same number
            accepted, _ = listener.accept()
            with accepted:
                asker = doors.asker(accepted)
            assert (asker.name, asker.uid, asker.may("admin")) == ("uid 4321", 4321, True)
        with as_user(0, call):
            accepted, _ = listener.accept()
            with accepted:
                assert doors.asker(accepted).name == "uid 0 (root)"
    doors.close()


@needs_root
def test_supplementary_groups_count(tmp_path: Path) -> None:
    doors = Doors()
    doors.group = 4321
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    before = os.getgroups()
    with ours, theirs:
        os.setgroups([77, 4321])
        try:
            os.seteuid(NOBODY)
            try:
                a, b = socket.socketpair(socket.AF_UNIX)
            finally:
                os.seteuid(0)
        finally:
            os.setgroups(before)
        with a, b:
            assert doors.asker(a).uid == NOBODY
    doors.close()


def test_loopback_is_shut_until_it_is_opened(listener: socket.socket) -> None:
    doors = Doors()
    with socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted, pytest.raises(Denied):
            doors.asker(accepted)
    doors.close()


def test_the_probe_knows_itself() -> None:
    lookup = PeerLookup()
    probe(lookup)
    lookup.close()


def test_a_door_that_knows_nobody_stays_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell_nothing(self: PeerLookup, connection: object) -> None:
        return None

    monkeypatch.setattr(PeerLookup, "owner", tell_nothing)
    doors = Doors()
    with pytest.raises(OSError, match="does not know"):
        doors.open_loopback()
    doors.close()


def answer(sequence: int = 7, kind: int = 20, state: int = 1, ends: bytes = b"e" * 36, inode: int = 5) -> bytes:
    rest = struct.pack("=BBBB", 2, state, 0, 0) + ends + bytes(12) + struct.pack("=IIIII", 0, 0, 0, 0, inode)
    rest += struct.pack("=HHB3x", 5, 8, 1) + struct.pack("=HHQ", 12, 21, 99)
    return struct.pack("=IHHII", 16 + len(rest), kind, 0, sequence, 0) + rest


def test_only_an_established_socket_with_an_owner_and_these_ends_is_believed() -> None:
    assert parse_answer(answer(), 7, b"e" * 36) == Found(0, 99)
    assert parse_answer(answer(state=5), 7, b"e" * 36) is None
    assert parse_answer(answer(inode=0), 7, b"e" * 36) is None
    assert parse_answer(answer(), 7, b"f" * 36) is None
    gone = struct.pack("=IHHIIi", 20, 2, 0, 7, 0, -2)
    assert parse_answer(gone, 7, b"e" * 36) is None


@pytest.mark.parametrize(
    "wrong", [answer(sequence=6), answer(kind=3), answer()[:60], b"", struct.pack("=IHHIIi", 20, 2, 0, 7, 0, -1)]
)
def test_anything_else_is_an_error(wrong: bytes) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - whichever it is
        parse_answer(wrong, 7, b"e" * 36)


@pytest.mark.parametrize(
    ("other", "inside"),
    [
        ("/user.slice/user-0.slice/session-1.scope", False),
        ("/system.slice/docker.service", False),
        ("/system.slice/docker-compose.service", False),
        ("/machine.slice/libpod-0123456789abcdef.scope/container", True),
        ("/system.slice/docker-0123456789abcdef.scope", True),
        ("/docker/0123456789abcdef", True),
        ("/container.slice/ctr-web.service/libpod-payload-0123456789abcdef", True),
        ("/kubepods.slice/kubepods-pod1.slice/cri-containerd-0123456789abcdef.scope", True),
        ("/agents/libpod-fedcba9876543210.scope/system.slice/geard.service", False),
        ("/agents/libpod-fedcba9876543210.scope/machine.slice/libpod-aaaabbbbccccdddd.scope", True),
    ],
)
def test_which_cgroups_are_containers(other: str, inside: bool) -> None:
    own = ["", "agents", "libpod-fedcba9876543210.scope", "system.slice", "geard.service"]
    assert container_between(own, other.split("/")) == inside


@needs_root
def test_root_in_a_container_is_not_root_here(doors: Doors) -> None:
    try:
        cgroups = Cgroups()
    except OSError as error:
        pytest.skip(f"cgroup v2 ids cannot be looked up here: {error}")
    own = Path(cgroups.path(cgroups.own_id))
    cgroups.close()
    container = own / "libpod-0123456789abcdef.scope"
    try:
        container.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a cgroup: {error}")
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def call_from_inside() -> None:
                (container / "cgroup.procs").write_text(str(os.getpid()))
                caller(listener.getsockname())()

            with as_user(0, call_from_inside):
                accepted, _ = listener.accept()
                with accepted, pytest.raises(Denied, match="container"):
                    doors.asker(accepted)
    finally:
        container.rmdir()
