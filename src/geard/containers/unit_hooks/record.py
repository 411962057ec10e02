#!/usr/bin/python3 -IS
"""After a gear's program has ended: write down how, and end a series of starts that cannot come to anything.

    gear-record ctr-ID      with SERVICE_RESULT, EXIT_CODE and EXIT_STATUS from systemd (systemd.exec(5))

`systemctl show` forgets the status of a good end, and 137 may be a stop or a kill by the memory limit: this is the
one place that sees the truth. A program that the engine could not even start (126, 127 and no process id), or an
image that no registry will hand out, will not be there at the next try either: the unit is stopped, and failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

RUN = "/run/geard/gears"
CANNOT_RUN = {"126": "its program cannot be executed", "127": "the image has no such program"}


def main(name: str) -> int:
    state = f"{RUN}/{name}"
    os.makedirs(state, mode=0o700, exist_ok=True)
    code, status = os.environ.get("EXIT_CODE", ""), os.environ.get("EXIT_STATUS", "")
    # 50 ms, spent only where the answer may be yes: the program was killed, and by somebody else than us.
    oom = "yes" if status in ("137", "KILL") and _killed_for_memory(name) else "no"
    result = os.environ.get("SERVICE_RESULT", "")
    _write(f"{state}/ended", f"result={result} code={code} status={status} oom={oom} at={time.time():.3f}\n")
    hopeless = os.path.exists(f"{state}/permanent")
    if code == "exited" and status in CANNOT_RUN and not os.path.exists(f"{state}/pid"):
        _write(f"{state}/failure", f"{CANNOT_RUN[status]} (status {status})\n")
        hopeless = True
    if hopeless:
        # --no-block: systemd is waiting for this very process.
        subprocess.run(["/usr/bin/systemctl", "--no-block", "stop", f"{name}.service"], check=False)
    return 0


def _killed_for_memory(name: str) -> bool:
    """What the engine knows of it; on unified cgroups the unit's own count tells as well, without asking."""
    try:
        with open("/proc/self/cgroup", encoding="ascii") as file:
            own = next(line[3:].strip() for line in file if line.startswith("0::"))
        unit = own.partition(".service")[0] + ".service"
        with open(f"/sys/fs/cgroup{unit}/memory.events", encoding="ascii") as file:
            if any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in file):
                return True
    except (FileNotFoundError, StopIteration):
        pass
    asked = ["/usr/bin/podman", "container", "inspect", "--format", "{{.State.OOMKilled}}", name]
    try:
        return subprocess.run(asked, capture_output=True, timeout=10, check=False).stdout.strip() == b"true"
    except (OSError, subprocess.TimeoutExpired):
        return False


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
