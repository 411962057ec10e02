"""Docker Engine beside: `create` over its REST interface, and `docker run -d` until the program runs."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bench.findings import Findings
from bench.inside.client import IMAGE, REST_SECONDS, Client, Unexpected
from bench.inside.podman import await_sign

SOCKET = "/run/docker.sock"
UNITS = ("docker.service", "docker.socket", "containerd.service")
NAME = "bench-docker"
# As far as docker knows them, a gear's own limits and protections.
LIKE_A_GEAR = ("--memory=512m", "--pids-limit=1024", "--security-opt=no-new-privileges", "--publish=8080")


def creates(times: int) -> Findings:
    """A container with one port of the engine's choice, not started."""
    found = Findings()
    body: dict[str, Any] = {
        "Image": IMAGE,
        "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {"PortBindings": {"8080/tcp": [{"HostPort": ""}]}},
    }
    with engine(), Client(SOCKET) as docker:
        for number in range(times + 3):
            name = f"{NAME}-{number}"
            took = docker.ask("POST", f"/containers/create?name={name}", body).seconds
            docker.ask("DELETE", f"/containers/{name}?force=true&v=true")
            time.sleep(REST_SECONDS)
            if number >= 3:
                found.sample("docker-create", took)
    return found


def runs(times: int) -> Findings:
    """From `docker run -d` to the program's first deed, as `podman.starts` measures it."""
    found = Findings()
    with engine(), tempfile.TemporaryDirectory(prefix="bench-", dir="/var/lib/containers") as folder:
        sign = Path(folder) / "started"
        program = ["/bin/sh", "-c", "echo >/v/started; exec /bin/serve-http"]
        line = ["docker", "run", "-d", f"--name={NAME}", *LIKE_A_GEAR, f"--volume={folder}:/v", IMAGE, *program]
        for number in range(times + 1):
            sign.unlink(missing_ok=True)
            began = time.perf_counter()
            running = subprocess.Popen(line, stdout=subprocess.DEVNULL)
            took = await_sign("docker", sign, began)
            if running.wait() != 0:
                raise Unexpected("docker run failed")
            subprocess.run(["docker", "rm", "--force", NAME], check=True, capture_output=True)
            time.sleep(0.5)
            if number:
                found.sample("docker-program", took)
    return found


@contextlib.contextmanager
def engine() -> Generator[None]:
    """dockerd with the image that is installed, for as long as it is measured."""
    subprocess.run(["systemctl", "start", "docker.service"], check=True)
    try:
        if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False).returncode:
            saved = subprocess.run(["podman", "save", f"docker.io/{IMAGE}"], check=True, capture_output=True)
            subprocess.run(["docker", "load"], input=saved.stdout, check=True, capture_output=True)
        yield
    finally:
        subprocess.run(["systemctl", "stop", *UNITS], check=True)
