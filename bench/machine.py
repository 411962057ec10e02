"""What it was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from lab.host import Host


def describe(host: Host) -> list[str]:
    cores = os.cpu_count()
    names = [line.partition(":")[2].strip() for line in lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = int(lines("/proc/meminfo")[0].split()[1]) / (1 << 20)
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    disk = host.run("findmnt", "--noheadings", "--output", "FSTYPE", "--target", "/var/lib/containers").strip()
    python = host.run("/opt/geard/bin/python3", "--version").strip()
    systemd = " ".join(host.run("systemctl", "--version").split()[:2])
    podman = " ".join(host.run("podman", "--version").split()[::2])
    record = host.record()
    kernel = platform.release().partition("-")[0]
    return [
        f"a virtual machine with {cores} cores ({names[0] if names else platform.machine()}) and {memory:.0f} GiB,"
        " shared with other work",
        f"Linux {kernel}, cgroups v{2 if unified else 1}, container storage on {disk}",
        f"geard in a systemd-nspawn host of the lab: Debian {record.suite if record else ''}, {systemd}, {podman},"
        f" {python}",
    ]


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
