"""The control groups that a host lives in, one for each hierarchy (v1) or one alone (v2).

They are the one sure way to find everything that belongs to a host, whatever it forked, so a host's groups
are put on record before they are made.
"""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lab.machine import LabError

PROC = Path("/proc")


def parse_mounted(mountinfo: str) -> dict[str, Path]:
    """Where each hierarchy is mounted, by the names used in /proc/PID/cgroup; "" is the unified one."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        target = Path(before.split()[4])
        if kind == "cgroup2":
            found[""] = target
        elif kind == "cgroup":
            for option in options.split(","):
                found[option] = target
    return found


def parse_membership(text: str) -> dict[str, str]:
    """/proc/PID/cgroup: path of the group in each hierarchy, under the first of its controllers."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found[controllers.split(",")[0]] = path
    return found


def directories_below_own(name: str) -> list[Path]:
    """A child of this process's own group in every hierarchy: hosts share the limits that it has."""
    mounted = parse_mounted((PROC / "self/mountinfo").read_text())
    own = parse_membership((PROC / "self/cgroup").read_text())
    return [mounted[kind] / path.strip("/") / name for kind, path in own.items() if kind in mounted]


def of_systemd() -> Path:
    """Where the machine's systemd has its own groups."""
    mounted = parse_mounted((PROC / "self/mountinfo").read_text())
    return mounted.get("name=systemd") or mounted[""]


def make(groups: Sequence[Path]) -> None:
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            # empty in a new v1 group, which then takes no process
            if (group / file).exists() and (group / "tasks").exists():
                (group / file).write_text((group.parent / file).read_text())


def entering(groups: Sequence[Path]) -> list[str]:
    """The beginning of a command that is to run in these groups, and never outside of them."""
    files = " ".join(f"{group}/cgroup.procs" for group in groups)
    return ["sh", "-c", f'for file in {files}; do echo $$ >"$file" || exit; done; exec "$@"', "sh"]


def processes(groups: Sequence[Path]) -> set[int]:
    """Every process in the groups and the groups below them."""
    found: set[int] = set()
    for group in groups:
        for directory, _, _ in os.walk(group):
            try:
                found.update(int(line) for line in Path(directory, "cgroup.procs").read_text().split())
            except OSError:  # the group went away under us
                continue
    return found - {0}


def leader(groups: Sequence[Path]) -> int | None:
    """The host's PID 1, as seen from outside: number 1 in a PID namespace directly below ours."""
    for process in sorted(processes(groups[:1])):
        try:
            status = (PROC / str(process) / "status").read_text()
        except OSError:
            continue
        numbers = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
        if numbers and len(numbers[0]) == 2 and numbers[0][1] == "1":
            return process
    return None


def kill(groups: Sequence[Path], seconds: float = 20) -> None:
    """Kill what is in the groups, until nothing is."""
    # PID 1 of the host takes all others inside with it, and nspawn then ends by itself, in good order
    if first := leader(groups):
        kill_one(first)
        await_empty(groups, 3)
    end = time.monotonic() + seconds
    while not await_empty(groups, 0):
        if time.monotonic() > end:
            raise LabError(f"processes {sorted(processes(groups))} do not end")
        for process in processes(groups):
            kill_one(process)
        time.sleep(0.01)


def kill_one(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def await_empty(groups: Sequence[Path], seconds: float) -> bool:
    """Wait until no process is left in the groups; whether that came."""
    end = time.monotonic() + seconds
    while processes(groups):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def remove(groups: Sequence[Path]) -> None:
    for group in groups:
        for directory, _, _ in os.walk(group, topdown=False):
            for _ in range(100):
                try:
                    Path(directory).rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:  # the kernel is still taking its last process away
                    time.sleep(0.01)
