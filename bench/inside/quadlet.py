"""The other way to have containers as units: a Quadlet file each, and a daemon-reload to have it known."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from bench.findings import Findings
from bench.inside.client import IMAGE

FOLDER = Path("/etc/containers/systemd")
FILE = """\
[Container]
Image=docker.io/{image}
PublishPort={port}:8080
"""


def quadlet(count: int, times: int) -> Findings:
    """One more file and the reload, where `count` are there, none of them running."""
    found = Findings()
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        for number in range(count):
            write(number)
        reload()
        for number in range(count, count + times):
            began = time.perf_counter()
            write(number)
            reload()
            found.sample("quadlet", time.perf_counter() - began)
    finally:
        for file in FOLDER.glob("bench-*.container"):
            file.unlink()
        reload()
    return found


def write(number: int) -> None:
    (FOLDER / f"bench-{number}.container").write_text(FILE.format(image=IMAGE, port=20_000 + number))


def reload() -> None:
    subprocess.run(["systemctl", "daemon-reload"], check=True)
