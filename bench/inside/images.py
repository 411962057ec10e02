"""One image on its way to other hosts: from the engine of a host that has it, or from a docker-registry there."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
import time
from pathlib import Path

from bench.findings import Findings
from bench.inside.client import Unexpected
from bench.inside.deployed import HOSTS, SETTINGS, told

FROM = HOSTS[0]
NAME = f"{FROM}:5000/bench/large:1"
BASE = "docker.io/geard/busybox-http-app"
LAYERS, FILES, SIZE = 3, 200, 500_000
"""300 MB; every other file is text, which a registry compresses"""
FOLDER = Path("/root/bench-image")
INSECURE = f'[registries]\ninsecure = ["{FROM}:5000"]\n'
PATIENCE = 60.0


def give_image() -> Findings:
    """Have it in this host's registry, and in its engine as it comes from there."""
    chance = random.Random(7)
    words = [bytes(chance.randrange(97, 123) for _ in range(chance.randrange(3, 9))) for _ in range(4_000)]
    text = b" ".join(chance.choices(words, k=SIZE))
    FOLDER.mkdir(exist_ok=True)
    for number in range(LAYERS):
        with tarfile.open(FOLDER / f"{number}.tar", "w") as archive:
            for file in range(FILES):
                entry = tarfile.TarInfo(f"data/{number}/{file}")
                entry.size = SIZE
                at = chance.randrange(len(text) - SIZE)
                archive.addfile(entry, io.BytesIO(text[at : at + SIZE] if file % 2 else chance.randbytes(SIZE)))
    lines = [f"FROM {BASE}", *(f"ADD {number}.tar /" for number in range(LAYERS))]
    (FOLDER / "Containerfile").write_text("\n".join(lines) + "\n")
    SETTINGS.write_text(SETTINGS.read_text() + INSECURE)
    told("systemctl", "start", "docker-registry.service")
    end = time.monotonic() + PATIENCE
    while subprocess.run(["curl", "-sf", f"http://{FROM}:5000/v2/"], capture_output=True, check=False).returncode:
        if time.monotonic() > end:
            raise Unexpected("docker-registry does not answer")
        time.sleep(0.1)
    told("podman", "build", "--quiet", "--layers", "--tag", NAME, str(FOLDER))
    told("podman", "push", "--quiet", "--tls-verify=false", NAME)
    told("podman", "rmi", NAME)
    told("gear", "pull", NAME)
    return Findings()


def take_images() -> Findings:
    """Have this host's pulls ask that one first."""
    SETTINGS.write_text(f'{INSECURE}[images]\npeers = ["{FROM}"]\n')
    return Findings()


def from_peer() -> Findings:
    return _taken("gear", "pull", NAME)


def from_registry() -> Findings:
    return _taken("gear", "pull", "--registry-only", NAME)


def by_podman() -> Findings:
    return _taken("podman", "pull", "--quiet", "--tls-verify=false", NAME)


def _taken(*command: str) -> Findings:
    """Began and ended by the machine's clock, which all hosts have."""
    found = Findings()
    found.facts["began"] = time.monotonic()
    told(*command)
    found.facts["ended"] = time.monotonic()
    told("podman", "rmi", NAME)
    return found
