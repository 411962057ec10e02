"""A build by a script, from being asked for to its end, and its steps by podman alone, turn about."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

from bench.findings import Findings
from bench.inside.client import IMAGE, Client, Unexpected
from bench.inside.podman import PATIENCE, PODMAN, POLL

BUILDS = Path("/var/lib/containers/builds")
SOURCE = Path("/root/geard-bench-source")
COPY = Path("/root/geard-bench-copy")
ASSEMBLE = "#!/bin/sh\nmkdir -p /srv/bench && cp /tmp/src/page /srv/bench/\n"
NAME = "geard-bench-build"
IDS = "0:500000000:65536"


def builds(pairs: int) -> Findings:
    found = Findings()
    (SOURCE / ".s2i/bin").mkdir(parents=True, exist_ok=True)
    (SOURCE / "page").write_text("a page\n")
    (SOURCE / ".s2i/bin/assemble").write_text(ASSEMBLE)
    (SOURCE / ".s2i/bin/assemble").chmod(0o755)
    with Client() as client:
        for number in range(pairs + 1):
            # the first of each finds nothing in the page cache
            into = found if number else Findings()
            began = time.perf_counter()
            body = {"Source": str(SOURCE), "BaseImage": f"docker.io/{IMAGE}", "Tag": NAME, "Clean": True}
            id = str(client.ask("POST", "/build-image", body, accept="application/json").json()["Id"])
            into.sample("build", _await_end(id, began))
            time.sleep(0.5)
            began = time.perf_counter()
            _steps()
            into.sample("build-steps", time.perf_counter() - began)
            time.sleep(0.5)
    shutil.rmtree(SOURCE)
    subprocess.run([*PODMAN, "rmi", "--force", NAME, f"{NAME}-bare"], check=False, capture_output=True)
    return found


def _await_end(id: str, began: float) -> float:
    file = BUILDS / id / "state.json"
    while (state := json.loads(file.read_text())["State"]) not in ("done", "failed", "cancelled"):
        if time.perf_counter() > began + PATIENCE:
            raise Unexpected(f"build {id} has not ended after {PATIENCE:g} s")
        time.sleep(POLL)
    if state != "done":
        raise Unexpected(f"build {id} has {state}")
    return time.perf_counter() - began


def _steps() -> None:
    """What a build has podman do, with the same users, network and limits."""
    shutil.copytree(SOURCE, COPY)
    options = [
        *("--uidmap", IDS, "--gidmap", IDS, "--network=geard", "--pull=never", "--http-proxy=false"),
        *("--memory=2g", "--pids-limit=2048", "--log-driver=none", "--security-opt=no-new-privileges"),
        *("--volume", f"{COPY}:/tmp/src:U,z", "--volume", f"{SOURCE}/.s2i/bin:/tmp/scripts:ro,z"),
        *("--entrypoint", '["/tmp/scripts/assemble"]'),
    ]
    for words in (
        ("create", "--replace", "--name", NAME, *options, f"docker.io/{IMAGE}"),
        ("start", "--attach", NAME),
        ("commit", "--quiet", NAME, f"{NAME}-bare"),
        ("rm", "--force", "--time=0", NAME),
    ):
        subprocess.run([*PODMAN, *words], check=True, capture_output=True)
    shutil.rmtree(COPY)
