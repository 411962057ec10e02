"""`gear deploy` at one host, and at each host the same gears by a shell loop of `podman run`, with their own
arguments and those of the unit that need no unit, while the gears are stopped.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path

from bench.findings import Findings
from bench.inside.boots import await_all
from bench.inside.burst import UNITS, read_definition
from bench.inside.client import IMAGE, Unexpected
from bench.inside.podman import CONSTANT, PODMAN, own_address, run_words

SETTINGS = Path("/etc/geard/geard.toml")
PORT = 43_273
FILE = "/root/bench.json"
LOOP = Path("/root/bench-loop.sh")
CONTAINERS = ("web", "app", "store")
EACH = 20
"""gears of each"""
HOSTS = ("h2", "h3", "h4")
"""new ones: the first has what was measured before, and rests"""
PATIENCE = 60.0


def hear_afar() -> Findings:
    """Have the agent listen for other machines."""
    SETTINGS.write_text(f'[agent]\nlisten = ["0.0.0.0:{PORT}"]\n')
    subprocess.run(["systemctl", "restart", "geard.service"], check=True)
    end = time.monotonic() + PATIENCE
    while f" {own_address()}:{PORT} " not in told("ss", "-Hltn"):
        if time.monotonic() > end:
            raise Unexpected("the agent does not listen for other machines")
        time.sleep(0.1)
    return Findings()


def deploy(each: int) -> Findings:
    """The whole of the command, to its end."""
    Path(FILE).write_text(describe(each))
    found = Findings()
    began = time.perf_counter()
    said = told("gear", "deploy", "-y", FILE, *HOSTS)
    found.sample("deploy", time.perf_counter() - began)
    if f"{len(CONTAINERS) * each} added" not in said:
        raise Unexpected(f"not all were added: {said[-2_000:]}")
    return found


def describe(each: int) -> str:
    """Three tiers, each linked to the next."""
    containers = [
        {
            "Name": name,
            "Image": IMAGE,
            "Count": each,
            "PublicPorts": [{"Internal": 8080}],
            "Links": [{"To": to}] if to else [],
            "Environment": [{"Name": "TIER", "Value": name}],
        }
        for name, to in zip(CONTAINERS, (*CONTAINERS[1:], ""), strict=True)
    ]
    return json.dumps({"Name": "bench", "IdPrefix": "bench-", "Containers": containers})


def deploy_again() -> Findings:
    found = Findings()
    for _ in range(3):
        began = time.perf_counter()
        said = told("gear", "deploy", "-y", FILE)
        found.sample("again", time.perf_counter() - began)
        if "Nothing to change" not in said:
            raise Unexpected(f"deploying the same again: {said[-2_000:]}")
    return found


def stop_deployed() -> Findings:
    told("gear", "stop", "--with", FILE)
    return Findings()


def undeploy() -> Findings:
    told("gear", "undeploy", "-y", FILE)
    return Findings()


def names() -> list[str]:
    """The gears of the deployment on this host."""
    return sorted(path.name.removeprefix("ctr-").removesuffix(".run") for path in UNITS.glob("be/ctr-bench-*.run"))


def answering() -> Findings:
    """How many of their host ports have a page."""
    found = Findings()
    ports = [int(read_definition(name)["Ports"][0]["External"]) for name in names()]
    found.facts["answering"] = await_all(ports, PATIENCE)
    return found


def loop() -> Findings:
    """Began and ended by the machine's clock: all hosts' loops begin at the same time, the last to end counts."""
    lines = [shlex.join([*PODMAN, "run", "-d", *CONSTANT, *run_words(name)]) for name in names()]
    LOOP.write_text("set -e\n" + "\n".join(lines) + "\n")
    found = Findings()
    found.facts["began"] = time.monotonic()
    told("sh", str(LOOP))
    found.facts["ended"] = time.monotonic()
    return found


def end_loop() -> Findings:
    told(*PODMAN, "rm", "--force", "--time=2", *(f"ctr-{name}" for name in names()))
    return Findings()


def told(*command: str) -> str:
    """What it prints. Raises Unexpected with what it said where it failed."""
    ended = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ended.returncode:
        said = (ended.stdout + ended.stderr).strip()[-2_000:]
        raise Unexpected(f"{shlex.join(command)[:200]} ended with {ended.returncode}: {said}")
    return ended.stdout
