"""gear-stop, on real processes: one stands for conmon, its child for the gear's program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from geard.containers.unit_hooks import stop

# Ends as its child ends; runs "cleanup", which lasts, after it.
CONMON = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
status = child.wait()
if sys.argv[2:]:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])
os._exit(abs(status) % 128)
"""
ENDS_ON = (
    "import signal, sys, time; signal.signal({0}, lambda *_: sys.exit(7)); print('up', flush=True); time.sleep(60)"
)
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@dataclass
class Gear:
    conmon: subprocess.Popen[str]
    pid: int


Run = Callable[..., Gear]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Run]:
    """Have a gear's two processes run, and what systemd and podman leave about them."""
    started: list[Gear] = []

    def start(program: str, *more: str, stop_signal: int = 15, grace: int = 30) -> Gear:
        conmon = subprocess.Popen(
            [sys.executable, "-c", CONMON, program, *more], stdout=subprocess.PIPE, text=True
        )
        assert conmon.stdout is not None
        gear = Gear(conmon, int(conmon.stdout.readline()))
        started.append(gear)
        assert conmon.stdout.readline() == "up\n"
        state, store = tmp_path / "run/gears/ctr-web", tmp_path / "store/c1d/userdata"
        state.mkdir(parents=True)
        store.mkdir(parents=True)
        (state / "pid").write_text(str(gear.pid))
        (state / "cid").write_text("c1d")
        (store / "config.json").write_text(
            f'{{"annotations":{{"org.opencontainers.image.stopSignal":"{stop_signal}"}}}}'
        )
        monkeypatch.setenv("MAINPID", str(conmon.pid))
        monkeypatch.setenv(
            "GEAR_RUN", f"--name ctr-web --hostname web --stop-timeout {grace} image --stop-timeout 9"
        )
        return gear

    monkeypatch.setattr(stop, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(stop, "STORE", str(tmp_path / "store"))
    yield start
    for gear in started:
        gear.conmon.kill()
        gear.conmon.wait()
        with suppress(ProcessLookupError):
            os.kill(gear.pid, signal.SIGKILL)
        assert gear.conmon.stdout is not None
        gear.conmon.stdout.close()


def by_podman(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What podman is asked for, which ends the hook."""
    asked: list[list[str]] = []

    def execv(path: str, argv: list[str]) -> None:
        asked.append(argv)
        raise SystemExit

    monkeypatch.setattr(os, "execv", execv)
    return asked


@pytest.mark.parametrize("number", [15, 10])
def test_the_program_gets_its_stop_signal(run: Run, number: int) -> None:
    gear = run(ENDS_ON.format(number), stop_signal=number)
    assert stop.main("ctr-web") == 0
    assert gear.conmon.wait(10) == 7, "it has ended by itself, and conmon after it"


def test_one_that_does_not_listen_is_killed_after_its_grace(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    gear = run(DEAF, grace=1)
    assert stop.main("ctr-web") == 0
    assert gear.conmon.wait(10) == 9
    assert "within 1 s" in capsys.readouterr().err


def test_a_machine_that_goes_down_does_not_wait_for_cleaning_up(run: Run, tmp_path: Path) -> None:
    gear = run(ENDS_ON.format(15), "and clean up")
    (tmp_path / "run/going-down").touch()
    assert stop.main("ctr-web") == 0
    assert gear.conmon.wait(10) == 7


def test_one_that_has_ended_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = by_podman(monkeypatch)
    monkeypatch.delenv("MAINPID", raising=False)
    assert stop.main("ctr-web") == 0
    assert not asked


def test_a_process_that_is_not_the_gears_is_not_touched(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gear = run(ENDS_ON.format(15))
    asked = by_podman(monkeypatch)
    monkeypatch.setenv("MAINPID", str(os.getpid()))
    with pytest.raises(SystemExit):
        stop.main("ctr-web")
    assert asked == [["/usr/bin/podman", "--events-backend=none", "--noout", "stop", "--ignore", "ctr-web"]]
    assert gear.conmon.poll() is None


@pytest.mark.parametrize("text", ["", "{}", '{"org.opencontainers.image.stopSignal":"99"}'])
def test_a_store_laid_out_otherwise_is_podmans_affair(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    run(ENDS_ON.format(15))
    (tmp_path / "store/c1d/userdata/config.json").write_text(text)
    asked = by_podman(monkeypatch)
    with pytest.raises(SystemExit):
        stop.main("ctr-web")
    assert asked


def test_one_whose_program_has_yet_to_begin_is_killed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in its place, the runtime, hears no other signal."""
    fifo = tmp_path / "crun/c1d/exec.fifo"
    fifo.parent.mkdir(parents=True)
    fifo.touch()
    monkeypatch.setattr(stop, "RUNTIMES", (str(tmp_path / "runc"), str(tmp_path / "crun")))
    gear = run(DEAF, grace=300)
    assert stop.main("ctr-web") == 0
    assert gear.conmon.wait(10) == 9
