"""Reservations of ports, on real folders and with real sockets."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from unittest import mock

import pytest

from geard.failures import AlreadyExists, Unavailable
from geard.host.paths import Paths
from geard.host.storage import Changes, locked
from geard.identifiers import DEFAULT_PORT
from geard.ports import reservations
from geard.ports.listening import in_use
from geard.ports.reservations import allocate, held_by, owner, place, release, reserve

processes = multiprocessing.get_context("spawn")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(base=tmp_path)


@pytest.fixture(autouse=True)
def nobody_listens() -> Generator[None]:
    """What listens on the machine these tests run on is not their subject, but for test_in_use."""
    with mock.patch.object(reservations, "in_use", return_value=False):
        yield


def unit(paths: Paths, name: str, *, there: bool = True) -> Path:
    path = paths.base / "units" / name[:2] / f"ctr-{name}.service"
    if there:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return path


def test_a_reservation_is_one_link(paths: Paths) -> None:
    web = unit(paths, "web")
    with Changes() as changes:
        reserve(paths, changes, 4900, "tcp", web)
        reserve(paths, changes, 4900, "udp", web)
    assert (paths.base / "ports/interfaces/1/49/4900").readlink() == web
    assert (paths.base / "ports/interfaces/1/49/4900.udp").readlink() == web
    assert set(held_by(paths, web)) == {(4900, "tcp"), (4900, "udp")}


def test_asking_again_is_harmless_and_another_is_told_who_has_it(paths: Paths) -> None:
    web, db = unit(paths, "web"), unit(paths, "db")
    with Changes() as changes:
        reserve(paths, changes, 4900, "tcp", web)
        reserve(paths, changes, 4900, "tcp", web)
        for _ in range(2):  # also when it asks again: a failed conflict releases nothing
            with pytest.raises(AlreadyExists, match="port 4900/tcp belongs to gear web"):
                reserve(paths, changes, 4900, "tcp", db)
    assert owner(paths, 4900, "tcp") == web


def test_a_port_is_released_by_its_gear_alone(paths: Paths) -> None:
    web, db = unit(paths, "web"), unit(paths, "db")
    with Changes() as changes:
        reserve(paths, changes, 4900, "tcp", web)
        assert release(paths, changes, 4900, "tcp", db) is False
        assert owner(paths, 4900, "tcp") == web
        assert release(paths, changes, 4900, "tcp", web) is True
        assert release(paths, changes, 4900, "tcp", web) is False
        reserve(paths, changes, 4900, "tcp", db)


def test_debris_of_a_killed_install_is_taken_over(paths: Paths) -> None:
    gone, db = unit(paths, "gone", there=False), unit(paths, "db")
    with Changes() as changes:
        reserve(paths, changes, 4900, "tcp", gone)
        reserve(paths, changes, 4900, "tcp", db)
    assert owner(paths, 4900, "tcp") == db


def test_debris_that_another_has_just_taken_over_stays_the_others(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, db, web = unit(paths, "gone", there=False), unit(paths, "db"), unit(paths, "web")
    real = locked

    @contextmanager
    def late(folder: Path, *, wait: bool = True) -> Generator[None]:
        monkeypatch.undo()
        reserve(paths, changes, 4900, "tcp", db)
        with real(folder, wait=wait):
            yield

    with Changes() as changes:
        reserve(paths, changes, 4900, "tcp", gone)
        monkeypatch.setattr(reservations, "locked", late)
        with pytest.raises(AlreadyExists, match="belongs to gear db"):
            reserve(paths, changes, 4900, "tcp", web)
    assert owner(paths, 4900, "tcp") == db


def test_a_gear_that_is_just_being_made_keeps_its_port(paths: Paths) -> None:
    new, db = unit(paths, "new", there=False), unit(paths, "db")
    with Changes() as changes, locked(new.parent / "new"):
        reserve(paths, changes, 4900, "tcp", new)
        with pytest.raises(AlreadyExists):
            reserve(paths, changes, 4900, "tcp", db)
        assert owner(paths, 4900, "tcp") == new


def test_a_gear_whose_deletion_is_under_way_keeps_its_port_until_it_is_done(paths: Paths) -> None:
    old, db = unit(paths, "old"), unit(paths, "db")
    (old.parent / "old").mkdir()
    (old.parent / "old" / "deleting").touch()
    with Changes() as changes:
        reserve(paths, changes, 4900, "tcp", old)
        old.unlink()
        with pytest.raises(AlreadyExists):
            reserve(paths, changes, 4900, "tcp", db)


def test_looking_at_debris_leaves_no_folder_behind(paths: Paths) -> None:
    gone, db = unit(paths, "gone", there=False), unit(paths, "db")
    with Changes() as changes:
        reserve(paths, changes, 4900, "tcp", gone)
        reserve(paths, changes, 4900, "tcp", db)
    assert not (gone.parent / "gone").exists()


def test_what_is_no_reservation_of_ours_is_respected(paths: Paths) -> None:
    """An admin may keep a port away by a file of that name."""
    with Changes() as changes:
        file = place(paths, 4900, "tcp")
        file.parent.mkdir(parents=True)
        file.touch()
        with pytest.raises(AlreadyExists):
            reserve(paths, changes, 4900, "tcp", unit(paths, "web"))
        assert release(paths, changes, 4900, "tcp", unit(paths, "web")) is False
    assert file.exists()


def test_automatic_ports_skip_what_is_taken_and_the_agents_own(paths: Paths) -> None:
    web, db = unit(paths, "web"), unit(paths, "db")
    with Changes() as changes:
        reserve(paths, changes, 4001, "tcp", db)
        assert [allocate(paths, changes, "tcp", web) for _ in range(3)] == [4000, 4002, 4003]
        assert allocate(paths, changes, "udp", web) == 4000
        (paths.base / "ports/interfaces/1/next").write_text(str(DEFAULT_PORT // 100))
        with mock.patch.object(reservations, "_EPHEMERAL", Path("/nowhere")):
            found = {allocate(paths, changes, "tcp", web) for _ in range(100)}
    assert DEFAULT_PORT not in found


@pytest.mark.parametrize("hint", ["", "x", "-5", "0", "9999999"])
def test_a_hint_that_is_wrong_does_no_harm(paths: Paths, hint: str) -> None:
    folder = paths.base / "ports/interfaces/1"
    folder.mkdir(parents=True)
    (folder / "next").write_text(hint)
    with Changes() as changes:
        assert 4000 <= allocate(paths, changes, "tcp", unit(paths, "web")) <= 59_999


def test_when_all_are_taken_it_says_so(paths: Paths) -> None:
    web = unit(paths, "web")
    span = range(4_050, 4_120)
    with Changes() as changes:
        found = {allocate(paths, changes, "tcp", web, span) for _ in span}
        assert found == set(span)
        with pytest.raises(Unavailable, match="from 4050 to 4119"):
            allocate(paths, changes, "tcp", web, span)
        release(paths, changes, 4_062, "tcp", web)
        assert allocate(paths, changes, "tcp", web, span) == 4_062


def test_ports_that_clients_are_given_come_last(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "range").write_text("32768\t60999\n")
    with mock.patch.object(reservations, "_EPHEMERAL", tmp_path / "range"):
        blocks = list(reservations._blocks(tmp_path))  # pyright: ignore[reportPrivateUsage]
    assert sorted(blocks) == list(range(40, 600))
    assert blocks.index(326) < blocks.index(328)
    assert max(blocks[:287]) <= 327


def test_what_we_give_out_is_kept_from_clients(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text("32768\t60999\n")
    (tmp_path / "reserved").write_text("40000-40002,43273\n")
    monkeypatch.setattr(reservations, "_EPHEMERAL", tmp_path / "range")
    monkeypatch.setattr(reservations, "_RESERVED", tmp_path / "reserved")
    reservations.keep_from_clients(paths, [4000, 40001])
    assert (tmp_path / "reserved").read_text() == "40000-40002,43273\n"
    reservations.keep_from_clients(paths, [40005, 32768])
    assert (tmp_path / "reserved").read_text() == "32768,40000-40002,40005,43273"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_in_use(protocol: str, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as holder:
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        holder.bind((address, 0))
        if protocol == "tcp":
            holder.listen()
        port = holder.getsockname()[1]
        assert in_use(port, protocol)
    assert not in_use(port, protocol)


def test_a_port_that_somebody_listens_on_is_not_given_out(paths: Paths) -> None:
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = holder.getsockname()[1]
        first = port // 100 * 100
        span = range(first, first + 100)
        with (
            mock.patch.object(reservations, "in_use", in_use),
            Changes() as changes,
        ):
            found: set[int] = set()
            with suppress(Unavailable):
                for _ in range(200):
                    found.add(allocate(paths, changes, "tcp", unit(paths, "web"), span))
    assert 0 < len(found) < 100
    assert port not in found


def test_an_old_connection_holds_no_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            accepted.close()  # this end closes first: TIME_WAIT
    assert not in_use(port, "tcp")


def _allocate(base: str, name: str, found: SimpleQueue[list[int]]) -> None:
    paths = Paths(base=Path(base))
    with mock.patch.object(reservations, "in_use", return_value=False), Changes() as changes:
        found.put([allocate(paths, changes, "tcp", unit(paths, name)) for _ in range(40)])


def test_two_processes_at_once_get_different_ports(paths: Paths) -> None:
    answers: SimpleQueue[list[int]] = processes.SimpleQueue()
    children = [processes.Process(target=_allocate, args=(str(paths.base), f"g{n}", answers)) for n in range(2)]
    for child in children:
        child.start()
    found = [port for _ in children for port in answers.get()]
    for child in children:
        child.join()
        assert child.exitcode == 0
        child.close()
    answers.close()
    assert len(found) == len(set(found)) == 80
    assert os.listdir(paths.base / "ports/interfaces/1/40")
