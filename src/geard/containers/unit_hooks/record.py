#!/usr/bin/python3 -IS
"""After a gear's program has ended: write down how, remove the container, and end a series of starts that cannot
come to anything.

    gear-record ctr-ID      with SERVICE_RESULT, EXIT_CODE and EXIT_STATUS from systemd (systemd.exec(5))

`systemctl show` forgets the status of a good end, and 137 may be a stop or a kill by the memory limit: this is the
one place that sees the truth. A program that the engine could not even start (126, 127 and no process id), or an
image that no registry will hand out, will not be there at the next try either: the unit is stopped, and failed.
Where the engine did not start it, its own words are kept: without them 125 says nothing to anybody.
systemd waits for this, at every stop of every gear: it imports next to nothing.
"""

from __future__ import annotations

import _socket
import os
import sys
import time

BASE = "/var/lib/containers"
JOURNAL = "/run/systemd/journal/socket"
OURS = "57c8d5b1ac4d4d1c8e4b7a6f0f3f9d21"  # as in geard/events/entries.py
RUN = "/run/geard/gears"
REMAPPED = "/run/geard/ports"
REMAP = "/usr/lib/geard/gear-remap"
ENDS = "/run/geard/ends"
WANTS = f"{BASE}/targets/container-active.target.wants"
GOOD_RUN = 600.0  # seconds
GOING_DOWN = "/run/geard/going-down"
PODMAN = ["/usr/bin/podman", "--events-backend=none", "--noout"]
DOCKER = ["/usr/bin/docker", "--config", "/etc/geard/docker"]
# What the engine ends with where the program never ran; at 125 another try may do it.
NOT_STARTED = {
    "125": "the engine could not start it",
    "126": "its program cannot be executed",
    "127": "the image has no such program",
}


def main(name: str) -> int:
    state = f"{RUN}/{name}"
    os.makedirs(state, mode=0o700, exist_ok=True)
    engine = _engine(state)
    code, status = os.environ.get("EXIT_CODE", ""), os.environ.get("EXIT_STATUS", "")
    going_down = os.path.exists(GOING_DOWN)
    has_begun, oom = not os.path.exists(f"{state}/ready"), "no"
    if has_begun:
        # 50 ms, spent only where the answer may be yes: the program was killed, and by somebody else than us.
        if status in ("137", "KILL") and not going_down and _killed_for_memory(name, engine):
            oom = "yes"
        result = os.environ.get("SERVICE_RESULT", "")
        _write(f"{state}/ended", f"result={result} code={code} status={status} oom={oom} at={time.time():.3f}\n")
        _count(result)
        if _is_forgiven(name, state):
            _write(f"{state}/forgive", "")
    _forget_secrets(state)
    for gone in ("links-pid", "frozen", "ready", "beginning", "begun", "conmon"):
        try:
            os.unlink(f"{state}/{gone}")
        except FileNotFoundError:
            pass
    if os.path.exists(f"{REMAPPED}/{name}"):
        _run([REMAP, name])
    hopeless = os.path.exists(f"{state}/permanent") and _is_in_force(f"{state}/permanent", name)
    if code == "exited" and status in NOT_STARTED and not os.path.exists(f"{state}/pid"):
        taken = _taken_port(name)
        words = "" if taken else _words_of_engine(name)
        _write(f"{state}/failure", taken or f"{NOT_STARTED[status]} (status {status}){words and f': {words}'}\n")
        hopeless = hopeless or (status != "125" and not taken and _is_in_force(f"{state}/version", name))
    if has_begun:
        _note(name, code, status, oom, _why(state))
    if hopeless or (not has_begun and not os.path.lexists(f"{WANTS}/{name}.service")):
        # --no-block: systemd is waiting for this very process.
        _run(["/usr/bin/systemctl", "--no-block", "stop", f"{name}.service"])
    if going_down:
        return 0  # nothing of it outlasts the machine but podman's own record, which the next start replaces
    if engine == "docker":
        return _run(["/usr/lib/geard/gear-docker", "remove", name])
    remove = [*PODMAN, "rm", "--force", "--volumes", "--ignore", "--time=0", name]
    # Where conmon was killed the first rm ends with 125, and the second does it.
    return _run(remove) and _run(remove)


def _is_in_force(noted: str, name: str) -> bool:
    """Whether the version that is noted in that file is still what would be started: a newer one is told to start
    at this moment, perhaps, and a stop would undo that.
    """
    try:
        with open(noted, encoding="utf-8") as file:
            version = file.read().strip()
        with open(_file(name, "run"), encoding="utf-8") as file:
            return any(line == f'GEAR_VERSION="{version}"\n' for line in file)
    except FileNotFoundError:
        return True


def _file(name: str, kind: str) -> str:
    """One of the files beside its unit."""
    return f"{BASE}/units/{name[4:6]}/{name}.{kind}"


def _is_forgiven(name: str, state: str) -> bool:
    """Whether gear-prepare is to have earlier restarts forgotten: after a run that lasted, of a gear that is to
    run, so that systemd starts it again by itself. A start that was asked for has no pauses.
    """
    # A container that was kept ready is older than its run.
    began = max(_changed(f"{state}/version"), _changed(f"{state}/begun"))
    return bool(began) and time.time() - began >= GOOD_RUN and os.path.lexists(f"{WANTS}/{name}.service")


def _changed(path: str) -> float:
    """When, in seconds since 1970; 0 where it is not there."""
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _count(result: str) -> None:
    """A byte for each end, in a file of its kind: appending takes no lock, and the size is the number."""
    if not result.replace("-", "").isalpha():
        return
    try:
        os.makedirs(ENDS, mode=0o700, exist_ok=True)
        fd = os.open(f"{ENDS}/{result}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, b".")
        os.close(fd)
    except OSError:
        pass  # a full /run must not keep a container from being removed


def _note(name: str, code: str, status: str, oom: str, why: str) -> None:
    """For events: what systemd's own entry about this end will not say. By the journal's native protocol."""
    ended = f"has ended: {code} {status}" if code else f"was not started: {why or 'a step before it failed'}"
    fields = {
        "MESSAGE": f"{name.removeprefix('ctr-')} {ended}",
        "MESSAGE_ID": OURS,
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "gear",
        "GEARD_EVENT": "ended",
        "GEARD_GEAR": name.removeprefix("ctr-"),
        "GEARD_EXIT_CODE": code,
        "GEARD_EXIT_STATUS": status,
        "GEARD_OOM": oom,
        "GEARD_REASON": why,
    }
    # not by `socket`, whose import takes 6 ms
    writer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
    try:
        writer.sendto("".join(f"{name}={value}\n" for name, value in fields.items() if value).encode(), JOURNAL)
    except OSError as error:
        sys.stderr.write(f"the journal does not take how it ended: {error}\n")
    writer.close()


def _why(state: str) -> str:
    """What gear-prepare or we wrote down of a failure, in one line."""
    try:
        with open(f"{state}/failure", encoding="utf-8", errors="replace") as file:
            return " ".join(file.read(2_000).split())
    except FileNotFoundError:
        return ""


def _forget_secrets(state: str) -> None:
    """What gear-prepare laid out of them; variables of several lines are in `environment`."""
    folder = f"{state}/secrets"
    if os.path.isdir(folder):
        for path in (f"{state}/environment", *(f"{folder}/{name}" for name in os.listdir(folder))):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
        os.rmdir(folder)


def _words_of_engine(name: str) -> str:
    """The last error it told the journal in this run, in one line; empty where there is none."""
    run = os.environ.get("INVOCATION_ID", "")
    asked = ["/usr/bin/journalctl", "-q", "--no-pager", "-o", "cat", "-n", "20",
        f"_SYSTEMD_UNIT={name}.service", f"_SYSTEMD_INVOCATION_ID={run}"]  # fmt: skip
    for _ in range(3):
        told = [line[7:] for line in _output(asked).splitlines() if line.startswith("Error: ")]
        if told:
            words = told[-1].strip()[:500]
            unmapped = words.rpartition("but doesn't map ")[2]  # a user or group that the gear does not have
            return words if unmapped == words else f"it is to run as {unmapped}, and a gear's ids end at 65535"
        time.sleep(0.1)  # the journal takes what it is told a moment later
    return ""


def _taken_port(name: str) -> str:
    """An engine fails in the same way where another program has one of the gear's ports: which, and who has it."""
    sys.path.append(f"/opt/geard/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    from geard.ports.listening import taken  # noqa: PLC0415 - only after a failure

    try:
        words = taken(name.removeprefix("ctr-"), _file(name, "run"))
    except OSError:
        return ""
    return words and f"{words}\n"


def _engine(state: str) -> str:
    """Whose container it was. The unit may be another engine's by now: the gear was installed anew meanwhile."""
    try:
        with open(f"{state}/engine", encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return "podman"


def _killed_for_memory(name: str, engine: str) -> bool:
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
    asked = [
        *(DOCKER if engine == "docker" else PODMAN[:1]),
        "container",
        "inspect",
        "--format",
        "{{.State.OOMKilled}}",
        name,
    ]
    return _output(asked).strip() == "true"


def _output(argv: list[str]) -> str:
    """What a program prints, less than a pipe holds."""
    reader, writer = os.pipe()
    _run(argv, [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_CLOSE, reader)])
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as answer:
        return answer.read()


def _run(argv: list[str], files: list[tuple[int, ...]] | None = None) -> int:
    """The exit status of a program. Not by `subprocess`: importing it takes longer than all the rest."""
    child = os.posix_spawn(argv[0], argv, os.environ, file_actions=files or [])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
