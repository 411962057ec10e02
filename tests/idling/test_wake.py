"""What the waker may ask for, and what comes of it; and how the waker reads packets."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from geard.containers import asleep
from geard.containers.folders import Folders
from geard.host.paths import Paths
from geard.idling.unit_hooks import wake, waker
from geard.idling.waking import parse_woken


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemd was asked for, on a machine with the idle gear `web` that then listens at 8080."""
    for name in ("units/we", "wants", "run/idle", "run/gears/ctr-web"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "units/we/ctr-web.service").write_text("")
    (tmp_path / "units/we/ctr-web.idle").write_text("depth stop\n")
    (tmp_path / "run/idle/ctr-web").write_text("tcp 4100 8080 *\n")
    asked: list[str] = []

    def spawn(argv: list[str], environment: dict[str, str] | None = None) -> int:
        asked.append(" ".join(argv[-2:]))
        return 0

    def listens(state: str, port: tuple[str, int], before: str = "", start: int = 0, early: bool = True) -> bool:
        return port in (("tcp", 8080), ("udp", 53))

    def silent(*words: str, **more: str) -> None:
        pass

    monkeypatch.setattr(wake, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(wake, "WANTS", str(tmp_path / "wants"))
    monkeypatch.setattr(wake, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(wake, "_spawn", spawn)
    monkeypatch.setattr(wake, "_wait_for", listens)
    monkeypatch.setattr(wake, "_note", silent)
    return asked


def test_an_idle_gear_is_started_and_is_to_run(started: list[str], tmp_path: Path) -> None:
    assert wake.wake("web", "4100", "10.0.0.1") == ""
    assert started == ["start ctr-web.service"]
    assert not (tmp_path / "units/we/ctr-web.idle").exists()
    assert os.readlink(tmp_path / "wants/ctr-web.service") == str(tmp_path / "units/we/ctr-web.service")


@pytest.fixture
def ready(started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its container is kept ready, by what two files said then; podman does what it is asked."""
    (tmp_path / "units/we/ctr-web.run").write_text("GEAR_VERSION=1\n")
    folders = Folders(Paths(tmp_path, tmp_path / "run", tmp_path / "systemd"), "web")
    assert asleep.keep_ready(folders, [tmp_path / "env"])
    _podman_says(monkeypatch, 0)
    return folders.ready


def _podman_says(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    def said(child: int, seconds: float) -> int:
        return status

    monkeypatch.setattr(wake, "_status", said)


def test_a_container_that_is_kept_ready_has_its_program_begin(started: list[str], ready: Path) -> None:
    assert wake.wake("web", "4100", "10.0.0.1") == ""
    assert started == ["start ctr-web"], "podman's"
    assert (ready.exists(), ready.with_name("begun").exists()) == (False, True)
    assert wake.wake("web", "4100", "10.0.0.1") == ""
    assert started[1:] == ["start ctr-web.service"], "which systemd takes for one that runs"


def test_one_that_was_made_from_something_else_is_made_anew(
    started: list[str], ready: Path, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("new=one")
    assert wake.wake("web", "4100", "10.0.0.1") == ""
    assert started == ["restart ctr-web.service"]


def test_one_that_cannot_begin_is_made_anew(
    started: list[str], ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _podman_says(monkeypatch, 125)
    assert wake.wake("web", "4100", "10.0.0.1") == ""
    assert started == ["start ctr-web", "restart ctr-web.service"]


def test_one_that_begins_and_does_not_listen_is_refused(
    started: list[str], ready: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When its time is over, not when it has had that again of a start that changes nothing."""
    ready.with_name("pid").write_text(f"{os.getpid()}\n")

    def never(state: str, port: tuple[str, int], before: str = "", start: int = 0, early: bool = True) -> bool:
        return False

    monkeypatch.setattr(wake, "_wait_for", never)
    assert wake.wake("web", "4100", "10.0.0.1") == "it does not listen there"
    assert started == ["start ctr-web"]
    assert not (tmp_path / "run/idle/ctr-web").exists(), "no more is held for it"


def test_a_wake_that_was_killed_is_taken_up(started: list[str], ready: Path) -> None:
    ready.rename(ready.with_name("beginning"))
    assert wake.wake("web", "4100", "10.0.0.1") == ""
    assert started == ["start ctr-web"]


def test_one_that_takes_too_long_is_killed() -> None:
    child = wake._spawn(["/bin/sleep", "60"])  # pyright: ignore[reportPrivateUsage]
    assert os.WTERMSIG(wake._status(child, 0.05)) == signal.SIGKILL  # pyright: ignore[reportPrivateUsage]


def test_a_gear_without_the_flag_is_left_alone(started: list[str], tmp_path: Path) -> None:
    (tmp_path / "units/we/ctr-web.idle").unlink()
    assert wake.wake("web", "4100", "10.0.0.1") == "it is not idle"
    assert wake.wake("db", "4100", "10.0.0.1") == "it is not idle"
    assert started == []
    assert not os.listdir(tmp_path / "wants")


def test_a_deleted_one_is_not_started(started: list[str], tmp_path: Path) -> None:
    (tmp_path / "units/we/ctr-web.service").unlink()
    assert wake.wake("web", "4100", "10.0.0.1") == "it is not idle"
    assert started == []


def test_another_waker_waits_for_the_same_wake(started: list[str], tmp_path: Path) -> None:
    (tmp_path / "units/we/ctr-web.idle").unlink()
    (tmp_path / "wants/ctr-web.service").symlink_to(tmp_path / "units/we/ctr-web.service")
    assert wake.wake("web", "4100", "10.0.0.1") == ""
    assert started == ["start ctr-web.service"], "which systemd takes for the start that is under way"


def ask(words: str) -> str:
    """What the waker is answered."""
    here, there = socket.socketpair()
    with here, there:
        here.sendall(words.encode())
        here.shutdown(socket.SHUT_WR)
        wake.answer(there)
        return here.recv(500).decode()


@pytest.mark.parametrize(
    "words",
    [
        " ", "web", "web x", "../web 4100 ::1", "we/b 4100 ::1", "web 4100 a;b", "w 4100 ::1", "web 999999 ::1",
        "web 4100/sctp ::1", "web /udp ::1", "web 4100 ::1 -1 0", "web 4100 ::1 1 x", "web \u0664\u0661 ::1 1 0",
    ],
)  # fmt: skip
def test_words_that_cannot_be(words: str, started: list[str]) -> None:
    assert ask(words) == "refused: no such words\n"
    assert started == []


def test_what_a_wake_took_is_written_down(started: list[str], tmp_path: Path) -> None:
    state = tmp_path / "run/gears/ctr-web"
    since = time.monotonic_ns() - 50_000_000
    for name in ("version", "cid", "pid"):
        (state / name).write_text("1")
    os.utime(state / "cid", (1, 1))  # left from an earlier run, and so no step of this one
    time.sleep(0.02)  # a file's clock goes in steps of some milliseconds
    assert ask(f"web 4100 10.0.0.1 {since} 0\n") == "go 5\nready\n"
    assert not (tmp_path / "run/idle/ctr-web").exists()
    found = parse_woken("web", (state / "woken").read_text())
    assert found is not None
    assert [step.name for step in found.steps] == ["prepared", "running", "asked", "listens"], (
        "as the clock has it"
    )
    assert found.steps[-1].ms >= 50
    assert (found.id, found.port, found.at[:2]) == ("web", 4100, "20")


def test_one_that_the_waker_had_go_on(started: list[str], tmp_path: Path) -> None:
    switch = tmp_path / "freezer.state"
    switch.write_text("FROZEN")
    (tmp_path / "run/gears/ctr-web/frozen").write_text(f"{switch} THAWED\n")
    since = time.monotonic_ns() - 10_000_000
    assert ask(f"web 4100 10.0.0.1 {since} {since + 2_000_000}\n") == "go 5\nready\n"
    assert started == []
    assert switch.read_text() == "THAWED"
    told = (tmp_path / "run/gears/ctr-web/woken").read_text()
    assert told.endswith("port=4100 thawed=2.0 listens=2.0\n")


def test_a_datagram_wakes_where_it_may(started: list[str], tmp_path: Path) -> None:
    assert ask("web 4100/udp 10.0.0.1\n") == "refused: it is not idle\n", "its TCP port of that number is"
    (tmp_path / "run/idle/ctr-web").write_text("tcp 4100 8080 *\nudp 5300 53 *\n")
    assert ask("web 5300 10.0.0.1\n") == "refused: it is not idle\n"
    assert started == []
    assert ask("web 5300/udp 10.0.0.1\n") == "ready\n", "datagrams go on all at once"
    assert started == ["start ctr-web.service"]


def test_a_socket_for_datagrams_is_there() -> None:
    listens = wake._listens  # pyright: ignore[reportPrivateUsage]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert listens(str(os.getpid()), ("udp", port))
    assert listens(str(os.getpid()), ("udp", port)) is False
    assert listens("0", ("udp", port)) is None


def test_a_crowd_goes_on_as_it_is_taken(started: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [12]
    queue = iter((0, 5, 3, 0))

    def queued(pid: str, port: int) -> int:
        return next(queue)

    monkeypatch.setattr(wake, "_queued", queued)
    here, there = socket.socketpair()
    with here, there:
        worker = threading.Thread(target=wake.answer, args=(there,))
        here.sendall(b"web 4100 10.0.0.1 1 0\n")
        worker.start()
        told: list[str] = []
        for line in here.makefile():
            told.append(line.strip())
            if line == "ready\n":
                break
            waiting[0] -= min(waiting[0], int(line.split()[1]))
            here.sendall(b"%d\n" % waiting[0])
        worker.join()
    assert told == ["go 5", "go 2", "go 5", "ready"], "none while the queue is full"


def test_what_a_program_has_yet_to_take() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        queued = wake._queued  # pyright: ignore[reportPrivateUsage]
        assert queued("self", port) == 0
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            assert queued("self", port) == 2
            taken = server.accept()[0]
            assert queued("self", port) == 1
            taken.close()


@pytest.mark.parametrize("text", ["", "at=1 port=x", "at=1e99 port=1 asked=1", "at=1 port=1 asked=", "port=1"])
def test_what_cannot_be_read_is_no_wake(text: str) -> None:
    assert parse_woken("web", text) is None


@pytest.fixture
def gear_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a gear whose process 7 listens, as of a run that is over, and 8 of the new one does."""

    def listens(pid: str, port: tuple[str, int]) -> bool | None:
        return {"7": True, "8": True}.get(pid)

    monkeypatch.setattr(wake, "_listens", listens)
    return tmp_path


def test_what_was_there_before_is_not_waited_for(gear_state: Path) -> None:
    (gear_state / "pid").write_text("7")
    shell = ["/bin/sh", "-c", f"sleep 0.05; echo 8 >{gear_state}/pid; sleep 60"]
    start = wake._spawn(shell)  # pyright: ignore[reportPrivateUsage]
    try:
        assert wake._wait_for(str(gear_state), ("tcp", 8080), "7", start)  # pyright: ignore[reportPrivateUsage]
        assert os.waitpid(start, os.WNOHANG) == (0, 0), "it listens before its start is over"
    finally:
        os.kill(start, signal.SIGKILL)
        os.waitpid(start, 0)


def test_one_that_says_when_it_is_ready_is_not_up_before(gear_state: Path) -> None:
    (gear_state / "pid").write_text("6")
    start = wake._spawn(["/bin/sh", "-c", f"echo 7 >{gear_state}/pid; sleep 0.3; echo 8 >{gear_state}/pid"])  # pyright: ignore[reportPrivateUsage]
    assert wake._wait_for(str(gear_state), ("tcp", 8080), "6", start, early=False)  # pyright: ignore[reportPrivateUsage]
    assert (gear_state / "pid").read_text() == "8\n", "its start was over"


def test_why_it_is_refused_whatever_the_clock_says(
    started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "run/gears/ctr-web"
    (state / "ended").write_text("result=success code=exited status=0 oom=no at=9999999999.000\n")
    answers: list[str] = []

    def fails(folder: str, port: tuple[str, int], before: str = "", start: int = 0, early: bool = True) -> bool:
        if answers:
            (state / "ended").write_text("result=exit-code code=exited status=3 oom=no at=1.000\n")
        return False

    monkeypatch.setattr(wake, "_wait_for", fails)
    answers += [wake.wake("web", "4100", "::1")]
    (tmp_path / "run/idle/ctr-web").write_text("tcp 4100 8080 *\n")
    answers += [wake.wake("web", "4100", "::1")]
    assert answers == ["it does not listen there", "its program ended with status 3"]


def test_a_start_that_fails_is_not_waited_for(gear_state: Path) -> None:
    (gear_state / "pid").write_text("7")
    start = wake._spawn(["/bin/false"])  # pyright: ignore[reportPrivateUsage]
    assert not wake._wait_for(str(gear_state), ("tcp", 8080), "7", start)  # pyright: ignore[reportPrivateUsage]


def test_where_a_packet_goes() -> None:
    ports = struct.pack(">HH", 50_000, 4100) + b"\0" * 16
    ipv4 = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]) + ports
    ipv6 = bytes([0x60, 0, 0, 0, 0, 20, 6, 64]) + b"\0" * 15 + b"\1" + b"\0" * 15 + b"\2" + ports
    read = waker._addresses  # pyright: ignore[reportPrivateUsage]
    assert read(ipv4) == ("10.0.0.1", "4100")
    assert read(ipv6) == ("::1", "4100")
    assert read(ipv4[:20]) == ("", "")
    assert read(b"") == ("", "")
    assert read(ipv4[:9] + b"\x11" + ipv4[10:]) == ("10.0.0.1", "4100/udp")
    assert read(ipv4[:9] + b"\x01" + ipv4[10:])[1] == "", "a ping goes to none"


def test_who_is_among_networks() -> None:
    among = waker._is_among  # pyright: ignore[reportPrivateUsage]
    networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32", "::1/128"]
    assert all(among(source, networks) for source in ("10.255.0.1", "fd12::1", "192.0.2.7", "::1"))
    assert not any(among(source, networks) for source in ("11.0.0.1", "fe80::1", "192.0.2.8", "::2"))
    assert among("8.8.8.8", ["0.0.0.0/0"]) and not among("::1", ["0.0.0.0/0"])


def test_what_is_held_in_nfts_words() -> None:
    element, changes = waker._element, waker._changes  # pyright: ignore[reportPrivateUsage]
    found = {
        element("*", "tcp", "4100"),
        element("10.0.0.2", "tcp", "4101"),
        element("fd00::2", "udp", "4102"),
    }
    assert changes("add", found) == (
        "add element inet geard_idle all_addresses { tcp . 4100 }\n"
        "add element inet geard_idle ipv4 { 10.0.0.2 . tcp . 4101 }\n"
        "add element inet geard_idle ipv6 { fd00::2 . udp . 4102 }\n"
    )


def test_only_what_takes_from_the_own_table_is_news() -> None:
    takes, message, attribute = waker._takes, waker._message, waker._attribute  # pyright: ignore[reportPrivateUsage]
    own, other = attribute(1, b"geard_idle\0"), attribute(1, b"filter\0")
    assert takes(message(10 << 8 | 2, 0, 1, 0, own))
    assert not takes(message(10 << 8 | 2, 0, 1, 0, other))
    assert not takes(message(10 << 8 | 0, 0, 1, 0, own)), "made, not deleted"
    assert not takes(message(10 << 8 | 2, 0, 2, 0, own)), "of another family"
