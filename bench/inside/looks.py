"""Programs at the terminal, the agent's memory, lists, logs."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.findings import Findings
from bench.inside.client import AGENT, Client, Paced, Unexpected, external_port, wish
from bench.inside.podman import own_address

GEAR = "many-look"
CROWD = 100
PYTHON = "/opt/geard/bin/python3"


def programs(times: int) -> Findings:
    """Whole processes, turn about with the bare interpreter."""
    found = Findings()
    lines = {
        "python": [PYTHON, "-I", "-c", "pass"],
        "help": ["gear", "--help"],
        "status-local": ["gear", "status", GEAR],
        "status-remote": ["gear", "status", f"localhost/{GEAR}"],
    }
    with Paced() as paced:
        paced.ask("PUT", f"/container/{GEAR}", wish())
        for number in range(times + 1):
            for name, line in lines.items():
                began = time.perf_counter()
                whole(line)
                if number:
                    found.sample(name, time.perf_counter() - began)
                time.sleep(0.01)
        for name in ("help", "status-remote"):
            loaded = modules(lines[name])
            found.facts[f"host-code-{name}"] = len([m for m in loaded if is_host_code(m)])
            found.facts[f"modules-{name}"] = len(loaded)
        paced.ask("DELETE", f"/container/{GEAR}", {"Purge": True})
    return found


def whole(line: Sequence[str]) -> str:
    return subprocess.run(line, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def modules(line: Sequence[str]) -> list[str]:
    """What such a process imports, by the interpreter's own account."""
    command = [PYTHON, "-I", "-X", "importtime", "/usr/bin/gear", *line[1:]]
    told = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stderr
    return [row.rpartition("|")[2].strip() for row in told.splitlines() if row.startswith("import time:")]


def is_host_code(module: str) -> bool:
    floors = ("geard.host", "geard.dispatch", "geard.daemon")
    return module in floors or module.startswith(tuple(f"{floor}." for floor in floors))


def memory(restart: int) -> Findings:
    """The agent's own memory, anew if asked; megabytes."""
    found = Findings()
    if restart:
        subprocess.run(["systemctl", "restart", "geard.service"], check=True)
        with Client() as client:
            client.ask("GET", "/containers?all=true")
        time.sleep(1)
    found.facts |= {name.lower(): resident(agent(), name) for name in ("Rss", "Pss")}
    return found


def resident(pid: int, name: str) -> float:
    """MB: Rss; or Pss, with a share of what several processes have in common (proc_pid_smaps(5))."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(f"{name}:")) / 1_024


def idle(seconds: int) -> Findings:
    """What an agent that nobody asks takes: clock ticks (hundredths of a second), and how often it wakes."""
    found = Findings()
    process = Path(f"/proc/{agent()}")
    time.sleep(2)  # what was asked before has ended by then
    before = spent(process)
    time.sleep(seconds)
    for name, first, last in zip(("ticks", "wakes"), before, spent(process), strict=True):
        found.facts[name] = last - first
    found.facts["seconds"] = seconds
    return found


def spent(process: Path) -> tuple[int, int]:
    """utime + stime, and voluntary switches of all threads (proc_pid_stat(5), proc_pid_status(5))."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    wakes = 0
    for status in process.glob("task/*/status"):
        _, _, rest = status.read_text().partition("\nvoluntary_ctxt_switches:")
        wakes += int(rest.split()[0])
    return int(fields[11]) + int(fields[12]), wakes


def agent() -> int:
    return main_pid("geard.service")


def main_pid(unit: str) -> int:
    return int(whole(["systemctl", "show", "--property=MainPID", "--value", unit]))


def lists(times: int) -> Findings:
    found = Findings()
    with Paced() as paced:
        for _ in range(times):
            reply = paced.look("/containers?all=true")
            found.sample("list", reply.seconds)
            found.facts["listed"] = len(reply.json()["Containers"])
            time.sleep(0.02)
    return found


def load(questions: int, connections: int) -> Findings:
    """So many questions of each kind, over so many connections at once; this client is on the same cores."""
    found = Findings()
    for name, path in (("status", "/container/many-0/status"), ("listing", "/containers?all=true")):

        def ask(path: str = path) -> list[float]:
            with Client() as client:
                return [client.ask("GET", path).seconds for _ in range(questions // connections)]

        began = time.perf_counter()
        with ThreadPoolExecutor(connections) as pool:
            for asked in [pool.submit(ask) for _ in range(connections)]:
                for seconds in asked.result():
                    found.sample(name, seconds)
        found.facts[f"{name}-per-second"] = len(found.samples[name]) / (time.perf_counter() - began)
    return found


def logs(lines: int) -> Findings:
    """A page of a log, and the way of one line from the program's output to a follower."""
    found = Findings()
    print_what_comes = ["/bin/sh", "-c", "while :; do nc -l -p 8080; done"]
    with Paced() as paced:
        paced.ask("PUT", f"/container/{GEAR}", wish() | {"Command": print_what_comes, "Started": True})
        port = external_port(paced, GEAR)
        with speak_to(port) as program:
            for number in range(20):
                program.sendall(f"before {number}\n".encode())
                time.sleep(0.01)
            time.sleep(0.5)
            for _ in range(lines):
                found.sample("first", first_line(f"/container/{GEAR}/log?follow=false&lines=10"))
                time.sleep(0.05)
            with Client(AGENT) as follower:
                follower.send("GET", f"/container/{GEAR}/log?follow=true&lines=1")
                follower.head()
                follower.chunk()
                for number in range(lines):
                    time.sleep(0.1 + 0.013 * (number % 7))
                    word = f"line {number} {time.time_ns()}"
                    began = time.perf_counter()
                    program.sendall(f"{word}\n".encode())
                    while word.encode() not in follower.chunk():
                        pass
                    found.sample("follow", time.perf_counter() - began)
            crowd(found, program, lines)
        paced.ask("DELETE", f"/container/{GEAR}", {"Purge": True})
    return found


def crowd(found: Findings, program: socket.socket, lines: int) -> None:
    """The way of a line to the last of many followers of one gear."""
    threads = agent_threads()
    with ExitStack() as stack:
        followers = [stack.enter_context(Client(AGENT)) for _ in range(CROWD)]
        for follower in followers:
            follower.send("GET", f"/container/{GEAR}/log?follow=true&lines=1")
            follower.head()
            follower.chunk()
        found.facts["crowd"] = CROWD
        found.facts["crowd.threads"] = agent_threads() - threads
        for number in range(lines):
            time.sleep(0.1 + 0.013 * (number % 7))
            word = f"crowd {number} {time.time_ns()}"
            began = time.perf_counter()
            program.sendall(f"{word}\n".encode())
            for follower in followers:
                while word.encode() not in follower.chunk():
                    pass
            found.sample("crowd", time.perf_counter() - began)


def agent_threads() -> int:
    return len(os.listdir(f"/proc/{agent()}/task"))


def first_line(path: str) -> float:
    with Client() as client:
        began = time.perf_counter()
        client.send("GET", path)
        client.head()
        client.chunk()
        return time.perf_counter() - began


def speak_to(port: int) -> socket.socket:
    """A connection to a program that listens but gives no page."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            return socket.create_connection((own_address(), port), timeout=5)
        except OSError:
            time.sleep(0.05)
    raise Unexpected(f"nothing listens at port {port}")
