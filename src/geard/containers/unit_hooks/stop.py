#!/usr/bin/python3 -IS
"""A gear's program is to stop: its stop signal, the grace, KILL; as `podman stop` does it, at a tenth of the cost.

    gear-stop ctr-ID      with MAINPID (conmon) and the definition's GEAR_RUN from systemd

With hundreds of gears each stop of podman's own is felt: 65 ms of processor time here, at once for all when the
machine goes down. Where something is not as expected (no process id, another parent or store) podman does it.

conmon has podman clean up after the program, and gear-record then removes the container. A machine that goes down
needs neither: what they take away is gone with /run and the kernel, and the next start's --replace is made for
containers that a power cut left (docs/ARCHITECTURE.md, "Boot").
systemd waits for this, at every stop of every gear: it imports next to nothing.
"""

from __future__ import annotations

import os
import select
import sys

RUN = "/run/geard"
STORE = "/var/lib/containers/storage/overlay-containers"
RUNTIMES = ("/run/crun", "/run/runc")
STOP_SIGNAL = '"org.opencontainers.image.stopSignal":"'
GRACE = " --stop-timeout "
KILL = 9
PATIENCE = 2_000  # milliseconds for conmon to end when its machine goes down


def main(name: str) -> int:
    conmon = os.environ.get("MAINPID", "")
    if not conmon:
        return 0  # it has ended by itself
    state = f"{RUN}/gears/{name}"
    _thaw(f"{state}/frozen")
    pid = _read(f"{state}/pid").strip()
    container = _read(f"{state}/cid").strip()
    signal, grace = _stop_signal(container), _grace(os.environ.get("GEAR_RUN", ""))
    if _has_yet_to_begin(container):
        signal = KILL  # the runtime in its place would not hear another
    program = _child(pid, conmon)
    if program is None or signal is None or grace is None:
        argv = ["/usr/bin/podman", "--events-backend=none", "--noout", "stop", "--ignore", name]
        os.execv(argv[0], argv)
    _kill(pid, signal)
    if not _ended(program, grace * 1_000):
        print(f"its program has not ended within {grace} s of its stop signal and is killed", file=sys.stderr)
        _kill(pid, KILL)
        _ended(program, None)
    main_process = _open(conmon)
    if main_process is not None:
        if os.path.exists(f"{RUN}/going-down"):
            _without_cleanup(conmon, main_process)
        _ended(main_process, None)
    return 0


def _thaw(noted: str) -> None:
    """What stands still hears no signal (containers/asleep.py)."""
    path, _, word = _read(noted).strip().rpartition(" ")
    if path:
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(word)
        except OSError:
            pass
        os.unlink(noted)


def _has_yet_to_begin(container: str) -> bool:
    """Whether it is an idle gear's that is kept ready: the runtime takes this away as the program begins."""
    return bool(container) and any(os.path.exists(f"{place}/{container}/exec.fifo") for place in RUNTIMES)


def _stop_signal(container: str) -> int | None:
    """The image's STOPSIGNAL, else TERM, as podman told the runtime; None where its store is another."""
    _, found, rest = _read(f"{STORE}/{container}/userdata/config.json").partition(STOP_SIGNAL)
    number = rest[:3].partition('"')[0]
    return int(number) if found and number.isdigit() and 0 < int(number) <= 64 else None


def _grace(run: str) -> int | None:
    """Seconds; the first such option is geard's own, only names come before it."""
    number = run.partition(GRACE)[2].partition(" ")[0]
    return int(number) if number.isdigit() else None


def _without_cleanup(conmon: str, main_process: int) -> None:
    """Cut short what conmon starts after its program, so that conmon ends."""
    for _ in range(PATIENCE // 2):
        if _ended(main_process, 2):
            return
        for child in _read(f"/proc/{conmon}/task/{conmon}/children").split():
            _kill(child, KILL)


def _child(pid: str, parent: str) -> int | None:
    """A descriptor of a process (pidfd_open(2)), so that nothing else is meant if its number is given away."""
    opened = _open(pid) if pid.isdigit() else None
    # The name, in brackets, may hold anything: proc_pid_stat(5).
    fields = _read(f"/proc/{pid}/stat").rpartition(") ")[2].split()
    return opened if fields[1:2] == [parent] else None


def _open(pid: str) -> int | None:
    try:
        return os.pidfd_open(int(pid))
    except ProcessLookupError:
        return None


def _ended(process: int, milliseconds: int | None) -> bool:
    """Wait so long at most; None: as long as it takes, systemd has the last word (TimeoutStopSec=)."""
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    return bool(waiting.poll(milliseconds))


def _kill(pid: str, signal: int) -> None:
    try:
        os.kill(int(pid), signal)
    except ProcessLookupError:
        pass


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
