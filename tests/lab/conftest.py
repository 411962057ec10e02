"""Tests in a lab host: real systemd and podman, the package as a user has it. `scripts/test` makes the lab."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from lab.labs import Lab
from lab.machine import LabError

from lab import door

APP = "geard/busybox-http-app"
PATIENCE = 6 if os.environ.get("GEARD_SUITE") == "vm" else 1
"""a virtual machine whose processor is emulated is so much slower"""


@dataclass(frozen=True)
class Shell:
    """A lab host, as a test talks to it."""

    lab: Lab
    name: str
    engine: str = "podman"

    def run(
        self, command: Sequence[str], *, stdin: str | bytes = b"", check: bool = True, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host, as root."""
        status, out, err = self._finished(command, stdin, seconds)
        finished = subprocess.CompletedProcess[str](
            list(command), status, out.decode(errors="replace"), err.decode(errors="replace")
        )
        if check and status != 0:
            raise AssertionError(f"{command} ended with {status}\n{finished.stdout}{finished.stderr}")
        return finished

    def output(self, command: Sequence[str], *, stdin: str | bytes = b"") -> bytes:
        """What a command that must succeed prints, byte for byte."""
        status, out, err = self._finished(command, stdin, 120)
        assert status == 0, f"{command} ended with {status}\n{err.decode(errors='replace')}"
        return out

    def _finished(self, command: Sequence[str], stdin: str | bytes, seconds: float) -> tuple[int, bytes, bytes]:
        with (
            open(os.memfd_create("in"), "w+b") as given,
            open(os.memfd_create("out"), "w+b") as out,
            open(os.memfd_create("err"), "w+b") as err,
        ):
            given.write(stdin.encode() if isinstance(stdin, str) else stdin)
            given.seek(0)
            files = (given.fileno(), out.fileno(), err.fileno())
            status = door.run(self.lab.host(self.name).door, command, files, timeout=seconds * PATIENCE)
            out.seek(0)
            err.seek(0)
            return status, out.read(), err.read()

    def gear(self, *words: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.run(["gear", *words], check=check, stdin=stdin)

    def sh(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(["sh", "-c", script], check=check)

    def inside(self, name: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in a gear, by its engine alone."""
        return self.run([self.engine, "exec", f"ctr-{name}", *words], check=check)

    @property
    def containers(self) -> list[str]:
        """All that the engine has, running or not, but for geard-githost: the host's, once it has a repository."""
        names = self.run([self.engine, "ps", "-a", "--format", "{{.Names}}"]).stdout.split()
        return [name for name in names if name != "geard-githost"]

    def status(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.gear("status", "-o", "json", name).stdout)
        return found[0]

    def port(self, name: str) -> int:
        found = json.loads(self.gear("ports", "-o", "json", name).stdout)
        return int(found[0]["Ports"][0]["External"])

    def page(self, port: int, host: str = "127.0.0.1") -> str:
        return self.run(["curl", "-sS", "--max-time", "5", f"http://{host}:{port}/"]).stdout

    def agent(
        self, method: str, path: str, body: object = None, *options: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Ask the agent on loopback, as the README's curl lines do."""
        words = ["curl", "-sS", "-X", method, f"http://localhost:43273{path}", *options]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        return self.run(words, check=check)

    def lab_does(self, *words: str) -> None:
        subprocess.run(["scripts/lab", "--lab", self.lab.name, *words], check=True, capture_output=True)

    def from_outside(self, url: str) -> str:
        """What another machine of the lab's network is answered; empty where nothing is."""
        words = ["scripts/lab", "--lab", self.lab.name, "outside", "curl", "-s", "-m", "3", url]
        return subprocess.run(words, check=False, capture_output=True, text=True).stdout

    @property
    def address(self) -> str:
        return self.lab.host(self.name).address


def eventually(question: Callable[[], object], seconds: float = 15) -> None:
    """Ask until the answer is true."""
    end = time.monotonic() + seconds * PATIENCE
    while not (answer := question()):
        if time.monotonic() > end:
            raise AssertionError(f"not so within {seconds * PATIENCE:g} s: {question} last said {answer!r}")
        time.sleep(0.1)


DRIVER = Path(__file__).with_name("terminal_driver.py").read_text()


def drive(host: Shell, command: list[str], steps: Sequence[Sequence[object]]) -> dict[str, object]:
    """Run a command on a terminal, and type; its exit status, and whether the terminal was left as it was."""
    told = host.run(["python3", "-c", DRIVER, json.dumps({"command": command, "steps": steps})], check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    found: dict[str, object] = json.loads(told.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="session")
def lab() -> Lab:
    found = Lab(os.environ.get("GEARD_LAB", "test"))
    try:
        found.host("h1")
    except LabError:
        pytest.skip("there is no lab: scripts/test makes one, or scripts/lab --lab test up 1")
    return found


@pytest.fixture(scope="session")
def h1(lab: Lab) -> Shell:
    return Shell(lab, "h1")


BOTH = pytest.mark.parametrize("engine", ["podman", "docker"], indirect=True)
"""for tests of what depends on the engine: it is the machine's default for them"""
SETTINGS = "/etc/geard/geard.toml"


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, h1: Shell) -> Generator[str]:
    name: str = getattr(request, "param", "podman")
    if name == "podman":
        yield name
        return
    # Tests start it more often than the three times a minute that its unit allows.
    h1.sh(
        "cd /etc/systemd/system && mkdir -p docker.service.d && systemctl reset-failed 'docker*'"
        " && printf '[Unit]\\nStartLimitIntervalSec=0\\n' >docker.service.d/often.conf && systemctl daemon-reload"
    )
    # Never while gears run that rely on what it finds: dockerd changes the host's firewall as it starts.
    h1.run(["systemctl", "start", "docker.socket", "docker.service"])
    load = 'for file in /usr/share/geard-lab/images/*.tar; do docker load -qi "$file"; done; gear setup'
    h1.sh(f"docker image inspect {APP} >/dev/null 2>&1 || {{ {load}; }}")
    yield name
    h1.run(["rm", "-f", SETTINGS])


@pytest.fixture
def host(h1: Shell, engine: str) -> Generator[Shell]:
    """A host without gears, before and after."""
    found = replace(h1, engine=engine)
    _clear(found)
    if engine != "podman":
        found.run(["tee", SETTINGS], stdin=f'[engine]\ndefault = "{engine}"\n')
    yield found
    _clear(found)


def _clear(host: Shell) -> None:
    """What is there is seen by its files: four programs for every test would be minutes of a run."""
    files = "cd /var/lib/containers && ls -d units/*/ctr-*.service jobs/*/*/job"
    found = host.sh(files, check=False).stdout.split()
    names = [Path(path).stem.removeprefix("ctr-") for path in found if path.startswith("units/")]
    if names:
        host.run(["gear", "delete", "--purge", *names], seconds=120 + 3 * len(names))
    jobs = host.gear("jobs", "-a", "-q").stdout.split() if len(found) > len(names) else []
    if jobs:
        host.run(["gear", "job", "cancel", *jobs])
        host.run(["gear", "job", "remove", *jobs])
