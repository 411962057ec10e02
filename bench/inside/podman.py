"""podman itself: `create` over its REST interface, and `run -d` with a gear's own arguments."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

from bench.findings import Findings
from bench.inside.burst import UNITS
from bench.inside.client import IMAGE, Client, Paced, Unexpected, external_port, wish

SOCKET = Path("/run/bench-podman.sock")
DATA = Path("/var/lib/containers/data")
API = "/v5.0.0/libpod"
PODMAN = ("/usr/bin/podman", "--events-backend=none")
# The unit's constant arguments, without those that only a unit can use: --cgroups=split, --sdnotify=conmon,
# --log-driver=passthrough and the two files.
CONSTANT = ("--replace", "--rm", "--pull=never", "--security-opt=no-new-privileges", "--http-proxy=false")
PATIENCE = 60.0
POLL = 0.002


def create(times: int) -> Findings:
    """`podman create` over REST and our install, turn about."""
    found = Findings()
    with service(), Client(str(SOCKET)) as podman, Paced() as gear:
        for number in range(times + 3):
            name = f"many-create-{number}"
            ours = gear.ask("PUT", f"/container/{name}", wish())
            body = {"name": name, "image": f"docker.io/{IMAGE}", "portmappings": [{"container_port": 8080}]}
            theirs = podman.ask("POST", f"{API}/containers/create", body).seconds
            podman.ask("DELETE", f"{API}/containers/{name}?force=true")
            gear.ask("DELETE", f"/container/{name}", {"Purge": True})
            if number >= 3:
                found.sample("create-install", ours)
                found.sample("create", theirs)
    return found


@contextlib.contextmanager
def service() -> Generator[None]:
    SOCKET.unlink(missing_ok=True)
    child = subprocess.Popen([PODMAN[0], "system", "service", "--time=0", f"unix://{SOCKET}"])
    try:
        end = time.monotonic() + PATIENCE
        while not answers_at(SOCKET):
            if time.monotonic() > end:
                raise Unexpected("podman's service does not come up")
            time.sleep(0.05)
        yield
    finally:
        child.terminate()
        child.wait()
        SOCKET.unlink(missing_ok=True)


def answers_at(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        return caller.connect_ex(str(path)) == 0


def starts(pairs: int) -> Findings:
    """From the word "start" to the program's first deed (a file in a volume), turn about: gear and podman run."""
    found = Findings()
    gear = "many-start"
    program = ["/bin/sh", "-c", "echo >/v/started; exec /bin/serve-http"]
    with Paced() as paced, Client() as client:
        volume = {"VolumeConfig": {"Volumes": [{"Path": "/v"}]}}
        paced.ask("PUT", f"/container/{gear}", wish() | volume | {"Command": program})
        port = external_port(paced, gear)
        run = [*PODMAN, "run", "-d", *CONSTANT, *run_words(gear)]
        for number in range(pairs + 1):
            # the first of each finds nothing in the page cache
            into = found if number else Findings()
            timed(into, "gear", gear, port, lambda: client.ask("PUT", f"/container/{gear}/started"))
            paced.ask("PUT", f"/container/{gear}/stopped")
            time.sleep(0.5)
            timed(into, "bare", gear, port, lambda: subprocess.Popen(run, stdout=subprocess.DEVNULL))
            subprocess.run([*PODMAN, "rm", "-f", "--time=2", f"ctr-{gear}"], check=True, capture_output=True)
            time.sleep(0.5)
        paced.ask("DELETE", f"/container/{gear}", {"Purge": True})
    return found


def timed(found: Findings, name: str, gear: str, port: int, start: Callable[[], object]) -> None:
    """The page comes after: asking for it before the network is up would make the kernel wait a second."""
    sign = DATA / gear[:2] / gear / "v/started"
    sign.unlink(missing_ok=True)
    began = time.perf_counter()
    started = start()
    found.sample(f"{name}-program", await_sign(name, sign, began))
    await_page(port)
    found.sample(f"{name}-page", time.perf_counter() - began)
    time.sleep(1.2)  # the report behind a start looks on for a while
    if isinstance(started, subprocess.Popen) and started.wait() != 0:
        raise Unexpected(f"{name}: podman failed")


def await_sign(name: str, sign: Path, began: float) -> float:
    """Seconds from `began` until a program has made the file `sign`. Raises Unexpected after a minute."""
    while not sign.exists():
        if time.perf_counter() > began + PATIENCE:
            raise Unexpected(f"{name}: no program after {PATIENCE:g} s")
        time.sleep(POLL)
    return time.perf_counter() - began


def run_words(gear: str) -> list[str]:
    """A gear's own arguments for the engine, as its definition file has them."""
    text = (UNITS / gear[:2] / f"ctr-{gear}.run").read_text()
    found = re.search(r'^GEAR_RUN="(.*)"$', text, re.MULTILINE)
    if found is None:
        raise Unexpected(f"{gear} is not complete")
    # what systemd does with it: the file's reader takes these backslashes away, then the words are split
    return shlex.split(re.sub(r'\\(["\\`$])', r"\1", found[1]))


def await_page(port: int) -> None:
    """Return when the program behind a published port has answered. Raises Unexpected after a minute."""
    end = time.monotonic() + PATIENCE
    while not page(port):
        if time.monotonic() > end:
            raise Unexpected(f"nothing answers at port {port}")
        time.sleep(POLL)


def page(port: int) -> bool:
    try:
        with socket.create_connection((own_address(), port), timeout=1) as caller:
            caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return caller.recv(12).startswith(b"HTTP/1.")
    except OSError:
        return False


_OWN: list[str] = []


def own_address() -> str:
    """The host's own address, for a published port need not answer at 127.0.0.1."""
    if not _OWN:
        shown = subprocess.run(["hostname", "-I"], check=True, capture_output=True, text=True).stdout
        _OWN.append(next(word for word in shown.split() if ":" not in word))
    return _OWN[0]


def pool_size() -> int:
    """As many as geard itself starts at once (containers/operations.py)."""
    return max(4, 2 * (os.cpu_count() or 1))
