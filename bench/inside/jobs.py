"""A job, from being asked for to its result, and `podman run` of the same, turn about."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from bench.findings import Findings
from bench.inside.client import IMAGE, Client, Unexpected
from bench.inside.podman import PATIENCE, PODMAN, POLL

JOBS = Path("/var/lib/containers/jobs")
# What a job's container has too, but for its control group and where its output goes.
BARE = (
    *(*PODMAN, "run", "--rm", "--pull=never", "--http-proxy=false", "--security-opt=no-new-privileges"),
    *("--network=geard", "--uidmap=0:500000000:65536", "--gidmap=0:500000000:65536"),
    *("--memory=512m", "--pids-limit=1024", f"docker.io/{IMAGE}", "/bin/true"),
)
WHOLE = ("/usr/bin/gear", "run", f"docker.io/{IMAGE}", "/bin/true")


def jobs(pairs: int) -> Findings:
    found = Findings()
    with Client() as client:
        for number in range(pairs + 1):
            # the first of each finds nothing in the page cache
            into = found if number else Findings()
            began = time.perf_counter()
            body = {"Image": f"docker.io/{IMAGE}", "Command": ["/bin/true"]}
            id = str(client.ask("POST", "/jobs", body, accept="application/json").json()["Id"])
            into.sample("job", await_result(id, began))
            time.sleep(0.5)
            into.sample("bare-run", seconds(BARE))
            time.sleep(0.5)
            into.sample("gear-run", seconds(WHOLE))
            time.sleep(0.5)
    return found


def await_result(id: str, began: float) -> float:
    result = JOBS / id[:2] / id / "result"
    while not result.exists():
        if time.perf_counter() > began + PATIENCE:
            raise Unexpected(f"job {id} has no result after {PATIENCE:g} s")
        time.sleep(POLL)
    return time.perf_counter() - began


def seconds(argv: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True)
    return time.perf_counter() - began
