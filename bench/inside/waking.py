"""Idle gears: how long the first connection to one takes, beside what else starts a container; what is in the
way of the later ones; what many that sleep cost.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE

from bench.findings import Findings
from bench.inside.client import IMAGE, Client, Paced, Unexpected
from bench.inside.links import answer
from bench.inside.looks import agent, main_pid, resident, spent
from bench.inside.podman import CONSTANT, PODMAN, await_page, own_address, run_words, timed

GEAR, ALWAYS, SLEEPER = "many-woken", "many-always", "many-sleeper"
UNITS = Path("/run/systemd/system")
BARE, PROXIED = "bench-bare.service", "bench-proxied"
PROXY = "/usr/lib/systemd/systemd-socket-proxyd"
PROXY_PORT = 7_301
TALK, SINK = 7_001, 7_002
"""in gears"""
PINGS, MEETINGS, MEGABYTES = 400, 60, 200
REST_SECONDS = 1.2
"""what follows a start or a stop goes on for a while"""
PATIENCE = 60.0
ASKED = b"GET / HTTP/1.0\r\n\r\n"


def wakes(times: int) -> Findings:
    """From connecting to the first byte: a gear woken from both depths, bare podman, and a container behind a
    socket of systemd's, turn about. The first of each is left out.
    """
    found = Findings()
    program = ["/bin/sh", "-c", "echo >/v/started; exec /bin/serve-http"]
    volume = {"VolumeConfig": {"Volumes": [{"Path": "/v"}]}, "Command": program}
    with Paced() as paced, installed(paced, GEAR, (8080,), volume) as (port,):
        words = [*CONSTANT, *run_words(GEAR)]
        with proxied(["run", "-d", *words], port):
            for number in range(times + 1):
                into = found if number else Findings()
                for depth in ("freeze", "stop"):
                    asleep(paced, GEAR, port, depth)
                    first_byte(into, f"wake-{depth}", port)
                    time.sleep(REST_SECONDS)
                paced.ask("PUT", f"/container/{GEAR}/stopped")
                by_podman(into, port, words)
                first_byte(into, "wake-proxied", PROXY_PORT)
                subprocess.run(["systemctl", "stop", f"{PROXIED}.service", BARE], check=True)
    return found


def by_podman(into: Findings, port: int, words: Sequence[str]) -> None:
    name = f"ctr-{GEAR}"
    remove = [*PODMAN, "rm", "-f", "--time=2", name]
    timed(into, "wake-run", GEAR, port, lambda: subprocess.Popen([*PODMAN, "run", "-d", *words], stdout=DEVNULL))
    subprocess.run(remove, check=True, capture_output=True)
    kept = [word for word in words if word != "--rm"]
    subprocess.run([*PODMAN, "create", *kept], check=True, capture_output=True)
    timed(into, "wake-start", GEAR, port, lambda: subprocess.Popen([*PODMAN, "start", name], stdout=DEVNULL))
    subprocess.run(remove, check=True, capture_output=True)


def first_byte(found: Findings, name: str, port: int) -> None:
    began = time.perf_counter()
    with socket.create_connection((own_address(), port), timeout=PATIENCE) as line:
        found.sample(f"{name}-connect", time.perf_counter() - began)
        line.sendall(ASKED)
        if not line.recv(1):
            raise Unexpected(f"{name}: nothing was said")
        found.sample(name, time.perf_counter() - began)


def asleep(paced: Paced, gear: str, port: int, depth: str) -> None:
    paced.ask("PUT", f"/container/{gear}/started")
    await_page(port)
    paced.ask("PUT", f"/container/{gear}/idle", {"Depth": depth})
    time.sleep(REST_SECONDS)


@contextmanager
def installed(
    paced: Paced, gear: str, inside: Sequence[int], more: Mapping[str, object] | None = None
) -> Generator[list[int]]:
    """It runs; the host's ports for those inside."""
    ports = [{"Internal": port, "External": 0} for port in inside]
    paced.ask("PUT", f"/container/{gear}", {"Image": IMAGE, "Ports": ports, "Started": True, **(more or {})})
    try:
        given = paced.look(f"/container/{gear}/ports").json()["Ports"]
        outside = {int(pair["Internal"]): int(pair["External"]) for pair in given}
        await_page(outside[8080])
        yield [outside[port] for port in inside]
    finally:
        paced.ask("DELETE", f"/container/{gear}", {"Purge": True})


@contextmanager
def proxied(run: Sequence[str], port: int) -> Generator[None]:
    """A socket of systemd's, at PROXY_PORT, whose first connection starts a container and a proxy to it. Without
    `run` to something that is there.
    """
    page = f"until : 2>/dev/null </dev/tcp/{own_address()}/{port}; do sleep 0.002; done"
    starts = UNITS / BARE
    if run:
        starts.write_text(
            "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
            f"ExecStart={' '.join(quoted(word) for word in [*PODMAN, *run])}\n"
            f"ExecStart=/bin/bash -c '{page}'\n"
            f"ExecStop={' '.join(PODMAN)} rm -f --time=2 ctr-{GEAR}\n"
        )
    needs = f"[Unit]\nRequires={BARE}\nAfter={BARE}\n" if run else ""
    service, listens = UNITS / f"{PROXIED}.service", UNITS / f"{PROXIED}.socket"
    service.write_text(f"{needs}[Service]\nExecStart={PROXY} {own_address()}:{port}\n")
    listens.write_text(f"[Socket]\nListenStream={PROXY_PORT}\n")
    try:
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["systemctl", "start", listens.name], check=True)
        yield
    finally:
        subprocess.run(["systemctl", "stop", listens.name, service.name, *([BARE] if run else [])], check=False)
        for unit in (starts, service, listens):
            unit.unlink(missing_ok=True)
        subprocess.run(["systemctl", "daemon-reload"], check=True)


def quoted(word: str) -> str:
    """As a line of a unit has it (systemd.service(5), Command lines)."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'


def awake(pairs: int) -> Findings:
    """What connections to a gear take that was woken, beside one that never slept and that one behind systemd's
    proxy: turn about, the first pair left out.
    """
    found = Findings()
    inside = (8080, TALK, SINK)
    with Paced() as paced, installed(paced, GEAR, inside) as woken, installed(paced, ALWAYS, inside) as always:
        asleep(paced, GEAR, woken[0], "stop")
        first_byte(Findings(), "wake", woken[0])
        with (
            serving(GEAR),
            serving(ALWAYS),
            proxied([], always[1]),
            subprocess.Popen(
                [sys.executable, "-m", "bench.inside.talking", "ask"],
                stdin=PIPE,
                stdout=PIPE,
                text=True,
                env=os.environ,
            ) as talker,
        ):
            ways = [("woken", woken[1]), ("always", always[1]), ("proxied", PROXY_PORT)]
            for number in range(pairs + 1):
                for name, port in ways if number % 2 else reversed(ways):
                    took = {
                        "meet": answer(talker, f"meet {own_address()} {port} {MEETINGS}"),
                        "ping": answer(talker, f"ping {own_address()} {port} {PINGS}"),
                    }
                    if name != "proxied":
                        drain = (woken if name == "woken" else always)[2]
                        took["push"] = answer(talker, f"push {own_address()} {drain} {MEGABYTES}")
                    for what, seconds in took.items():
                        if number:
                            found.sample(f"{name}-{what}", seconds)
            talker.terminate()
    found.facts["megabytes"] = MEGABYTES
    return found


@contextmanager
def serving(gear: str) -> Generator[None]:
    """The far end of connections, in a gear's network."""
    pid = Path(f"/run/geard/gears/ctr-{gear}/pid").read_text().strip()
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-m", "bench.inside.talking"]
    with subprocess.Popen(
        [*command, "serve", gear, str(TALK), str(SINK)], stdout=PIPE, text=True, env=os.environ
    ) as child:
        try:
            assert child.stdout
            if child.stdout.readline() != "ready\n":
                raise Unexpected(f"nothing serves in {gear}")
            yield
        finally:
            child.terminate()


def crowd(count: int) -> Findings:
    """So many first connections at once to one gear that is stopped."""
    found = Findings()
    with Paced() as paced, installed(paced, GEAR, (8080,)) as (port,):
        asleep(paced, GEAR, port, "stop")
        failed = at_once(found, "wake-crowd", [port] * count)
    found.facts |= {"wake-crowd": count, "wake-crowd.failed": failed}
    return found


def at_once(found: Findings, name: str, ports: Sequence[int]) -> int:
    """A first byte from each of `ports`; how many did not say one."""

    def one(port: int) -> float:
        into = Findings()
        with suppress(OSError, Unexpected):
            first_byte(into, name, port)
            return into.samples[name][0] / 1_000
        return -1

    with ThreadPoolExecutor(len(ports)) as pool:
        took = list(pool.map(one, ports))
    for seconds in took:
        if seconds >= 0:
            found.sample(name, seconds)
    return sum(seconds < 0 for seconds in took)


def sleepers(count: int, seconds: int, woken: int) -> Findings:
    """What so many idle gears cost while other ports of the host are knocked at, whom that wakes, and how long so
    many of them take to wake all at once.
    """
    found = Findings()
    names = [f"{SLEEPER}-{number}" for number in range(count)]
    with Paced() as paced:
        ports: list[int] = []
        for name in names:
            paced.ask("PUT", f"/container/{name}", {"Image": IMAGE, "Ports": [{"Internal": 8080, "External": 0}]})
            paced.ask("PUT", f"/container/{name}/idle", {"Depth": "stop"})
            ports.append(int(paced.look(f"/container/{name}/ports").json()["Ports"][0]["External"]))
        time.sleep(2)
        of = {"agent": agent(), "waker": main_pid("geard-waker"), "wake": main_pid("geard-wake")}
        before = {who: spent(Path(f"/proc/{pid}")) for who, pid in of.items()}
        knocks = knock_elsewhere(set(ports), seconds)
        for who, pid in of.items():
            ticks, turns = spent(Path(f"/proc/{pid}"))
            found.facts[f"{who}.ticks"] = ticks - before[who][0]
            found.facts[f"{who}.wakes"] = turns - before[who][1]
            found.facts[f"{who}.pss"] = resident(pid, "Pss")
        found.facts |= {"count": count, "seconds": seconds, "knocks": knocks, "false": count - still_idle()}
        began = time.perf_counter()
        found.facts["woken"] = woken
        found.facts["woken.failed"] = at_once(found, "woken", ports[:woken]) if woken else 0
        found.facts["woken.seconds"] = time.perf_counter() - began
    with Client() as client:
        for name in names:
            client.ask("DELETE", f"/container/{name}", {"Purge": True})
    return found


def knock_elsewhere(taken: set[int], seconds: float) -> int:
    """Connections and datagrams to ports that are nobody's, for so long; how many."""
    chance, end, count = random.Random(1), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        port = chance.randrange(1_024, 65_536)
        if port in taken or port in (43_273, PROXY_PORT):
            continue
        kind = socket.SOCK_STREAM if count % 2 else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, kind) as line, suppress(OSError):
            line.settimeout(0.2)
            line.connect((own_address(), port))
            line.send(b"noise")
        count += 1
        time.sleep(0.01)
    return count


def still_idle() -> int:
    """By a connection of its own: the agent has closed one that said nothing for so long."""
    with Client() as client:
        shown = client.ask("GET", "/containers?all=true").json()["Containers"]
    return sum(each["ActiveState"] == "idle" for each in shown if each["Id"].startswith(SLEEPER))
