#!/usr/bin/python3 -IS
"""A gear on Docker Engine: its container, from being made to being gone, as the main process of the gear's unit.

    gear-docker run ctr-ID WORD…      make the container by the words of `docker create`, then `follow` it
    gear-docker follow ctr-ID         start it, tell systemd, pass on what it writes, end as it ends; told to end
                                      (TERM), have the engine stop it, with the grace it was made with
    gear-docker stop ctr-ID           systemd's first word of a stop
    gear-docker remove ctr-ID         by force, whatever is left of it

docker's own client would do for all of it, but at 30 MB a gear for as long as it runs, with names of containers
printed into the gear's log, and without telling systemd when the program runs. So this speaks to the engine's
socket (Docker Engine API, https://docs.docker.com/reference/api/engine/). `run` becomes `follow` by execve, since
everybody on the host can read the words of a process for as long as it lives.

125: the engine failed. 126: the program cannot be executed. 127: there is no such program.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

SOCKET = "/run/docker.sock"
DOCKER = ("/usr/bin/docker", "--config", "/etc/geard/docker")
RUN = "/run/geard/gears"
LINK = "/usr/lib/geard/gear-link"
# What Docker gives and podman does not: with the first a gear makes frames with another's address.
LESS = ("--cap-drop=NET_RAW", "--cap-drop=MKNOD", "--cap-drop=AUDIT_WRITE")
BACK_SECONDS = 90.0
"""how long a dockerd that went away may take to come back, before its gears count as lost"""
ENGINE_FAILED = 125


class Refused(Exception):
    """The engine said no; its status (HTTP) and words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def main(argv: list[str]) -> int:
    deed, name, *words = argv
    try:
        if deed == "run":
            return _run(name, words)
        if deed == "follow":
            return _follow(name)
        if deed == "stop":
            return _stop(name)
        return _remove(name)
    except (OSError, Refused) as error:
        return _failed(name, f"Docker Engine: {error}")


def _run(name: str, words: list[str]) -> int:
    _delete(name)  # what an earlier, killed run left
    if _ask("GET", "/networks/geard") is None:
        return _failed(name, "Docker Engine has no network for gears; gear setup makes it")
    create = [*DOCKER, "create", "--pull=never", "--log-driver=none", "--restart=no",
        "--security-opt=no-new-privileges", *LESS, f"--cgroup-parent={_cgroup_parent()}", *words]  # fmt: skip
    reader, writer = os.pipe()
    files = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, writer, 2)]
    child = os.posix_spawn(create[0], create, os.environ, file_actions=files)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as errors:
        said = errors.read().strip()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        return _failed(name, said.removeprefix("Error response from daemon: ") or "docker create failed")
    keep = {name: value for name, value in os.environ.items() if name in ("PATH", "NOTIFY_SOCKET")}
    return os.execve(sys.argv[0], [sys.argv[0], "follow", name], keep)


def _follow(name: str) -> int:
    stop = _Stop(name)
    output, engine = _attach(name), _engine()
    linked = os.path.exists(f"{RUN}/{name}/links")
    linking = os.posix_spawn(LINK, [LINK, name, "early"], os.environ) if linked else 0
    try:
        _ask("POST", f"/containers/{name}/start")
    except Refused as refused:
        return _failed(name, str(refused), _could_not_start(str(refused)))
    found = _inspect(name)
    if found is None:
        return _failed(name, "its container was removed as it started")
    _write(f"{RUN}/{name}/pid", str(found["State"]["Pid"]))
    _write(f"{RUN}/{name}/cid", found["Id"])
    if linking:
        link = [LINK, name, str(found["State"]["Pid"])]
        os.waitpid(os.posix_spawn(LINK, link, os.environ), 0)
        os.kill(linking, signal.SIGKILL)
        os.waitpid(linking, 0)
    _open_door("add", found)
    _notify("READY=1")
    stop.repeat()
    while True:
        _pass_on(output)
        # What dockerd ends on its own way out is to run again, whatever it ends with. Asked now: where there is a
        # docker.socket, the next question waits for the next dockerd.
        leaving = not stop.told and not _engine_stays()
        status = _wait(name, engine)
        if status is None:
            found = _when_back(name, stop)
            if found is None or not found["State"]["Running"]:
                return _failed(name, "Docker Engine went away, and the container with it")
            output, engine = _attach(name), _engine()  # "live-restore": it has gone on meanwhile
            stop.repeat()
        elif leaving and status in (0, 143):
            return _failed(name, "Docker Engine was stopped, and the container with it")
        else:
            return status


class _Stop:
    """TERM, passed on to the engine. The answer is not waited for: that the container has ended is seen anyway."""

    def __init__(self, name: str) -> None:
        self.told = False
        self._name = name
        self._asking: socket.socket | None = None
        signal.signal(signal.SIGTERM, self._heed)

    def _heed(self, number: int, frame: object) -> None:
        self.told = True
        self.repeat()

    def repeat(self) -> None:
        """Say it again, where it was said: the container was not there to be told."""
        if self.told:
            try:
                self._asking = _send("POST", f"/containers/{self._name}/stop")
            except OSError:  # no engine: gear-record has the end of it
                pass


def _stop(name: str) -> int:
    """`follow` is told next, and has it stopped. But a gear that was started on podman, and whose unit is Docker's
    by now, is podman's to stop.
    """
    _thaw(f"{RUN}/{name}/frozen")
    with open(f"{RUN}/{name}/engine", encoding="ascii") as file:
        if file.read() == "podman":
            podman = ["/usr/bin/podman", "--events-backend=none", "--noout", "stop", "--ignore", name]
            os.execv(podman[0], podman)
    return 0


def _thaw(noted: str) -> None:
    """What stands still hears no signal (containers/asleep.py)."""
    try:
        with open(noted, encoding="utf-8") as file:
            path, _, word = file.read().strip().rpartition(" ")
        os.unlink(noted)
        with open(path, "w", encoding="ascii") as file:
            file.write(word)
    except OSError:
        pass  # it was not frozen, or has ended


def _remove(name: str) -> int:
    try:
        found = _inspect(name)
        if found is not None:
            _open_door("delete", found)
            _delete(name)
    except (OSError, Refused):
        # The engine does not answer; nothing of a gear that has ended goes on running, though.
        _kill(f"{RUN}/{name}")
        raise
    return 0


def _delete(name: str) -> None:
    """Several tries: while the engine is busy with the container's end, it refuses."""
    for pause in (0.1, 0.5, 2.0, 0.0):
        try:
            _ask("DELETE", f"/containers/{name}?force=1&v=1")
            return
        except Refused:
            if not pause:
                raise
            time.sleep(pause)


def _kill(state: str) -> None:
    """KILL the program by its process id, if that still is in a control group of its container."""
    try:
        with open(f"{state}/pid", encoding="ascii") as file:
            pid = int(file.read())
        with open(f"{state}/cid", encoding="ascii") as file:
            container = file.read()
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            ours = container in file.read()
    except (OSError, ValueError):
        return
    if ours and container:
        os.kill(pid, 9)


def _cgroup_parent() -> str:
    """The unit's own slice, as the engine's cgroup driver wants it: by name, or by path."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    own = next(path for number, names, path in lines if names == "name=systemd" or number == "0")
    slice_path = own.rpartition("/")[0]
    info: dict[str, Any] = _ask("GET", "/info") or {}
    return slice_path.rpartition("/")[2] if info.get("CgroupDriver") == "systemd" else slice_path


def _could_not_start(words: str) -> int:
    """126 and 127 as docker's client has them: docker-run(1), EXIT STATUS."""
    if "exec:" not in words:
        return ENGINE_FAILED
    return 127 if "executable file not found" in words or "no such file or directory" in words else 126


def _failed(name: str, words: str, status: int = ENGINE_FAILED) -> int:
    print(f"Error: {words}", file=sys.stderr)
    if status == ENGINE_FAILED and os.path.isdir(f"{RUN}/{name}"):
        _write(f"{RUN}/{name}/failure", words + "\n")
    return status


def _engine() -> int:
    """A descriptor of dockerd's process; -1 where it keeps no file of its number."""
    try:
        with open("/run/docker.pid", encoding="ascii") as file:
            return os.pidfd_open(int(file.read()))
    except (OSError, ValueError):
        return -1


def _wait(name: str, engine: int) -> int | None:
    """The program's exit status, once it has ended; None where the engine went away first. The next one would say
    0 of a program that it has ended itself, as it started.
    """
    try:
        found = _ask("POST", f"/containers/{name}/wait", engine)
    except (OSError, ValueError):
        return None
    except Refused as refused:
        if refused.status < 500:
            raise
        return None
    return found.get("StatusCode") if found is not None else None


def _when_back(name: str, stop: _Stop) -> dict[str, Any] | None:
    end = time.monotonic() + BACK_SECONDS
    while time.monotonic() < end and not stop.told:
        try:
            return _inspect(name)
        except (OSError, ValueError, Refused):
            time.sleep(0.5)
    return None


def _engine_stays() -> bool:
    reader, writer = os.pipe()
    argv = ["/usr/bin/systemctl", "is-active", "docker.service"]
    child = os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    os.close(writer)
    with open(reader, "rb") as answer:
        state = answer.read().strip()
    os.waitpid(child, 0)
    return state == b"active"


def _open_door(deed: str, found: dict[str, Any]) -> None:
    """Gears on Docker's bridge reach each other's published ports through docker-proxy, a program of the host's,
    which the rules of gear-host keep from them but for the ports in this set.
    """
    published: dict[str, list[dict[str, str]]] = found["HostConfig"].get("PortBindings") or {}
    ports = [
        f"{internal.partition('/')[2]} . {binding['HostPort']}"
        for internal, bindings in published.items()
        for binding in bindings
    ]
    if ports:
        argv = ["/usr/sbin/nft", f"{deed} element inet geard published {{ {', '.join(ports)} }}"]
        quiet = [(os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)]  # not there, or there: both are fine
        os.waitpid(os.posix_spawn(argv[0], argv, os.environ, file_actions=quiet), 0)


def _inspect(name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = _ask("GET", f"/containers/{name}/json")
    return found


def _attach(name: str) -> Any:
    """What the container writes from now on, as a file of frames."""
    line = _send(
        "POST", f"/containers/{name}/attach?stream=1&stdout=1&stderr=1", "Upgrade: tcp\r\nConnection: Upgrade"
    )
    with line:  # the file keeps it open
        reader = line.makefile("rb")
    status = _status(reader)
    if status not in (101, 200):
        raise Refused(status, "it does not hand out what the container writes")
    return reader


def _pass_on(frames: Any) -> None:
    """Until the container writes no more, or the engine is gone. Frames: one byte for stdout (1) or stderr (2),
    three of nothing, four of length (ContainerAttach in the API).
    """
    try:
        while len(header := frames.read(8)) == 8:
            left = int.from_bytes(header[4:], "big")
            while left and (data := frames.read1(min(left, 65_536))):
                left -= len(data)
                _print(2 if header[0] == 2 else 1, data)
    except OSError:
        pass
    frames.close()


def _print(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:  # journald is gone: what is written meanwhile is lost, as for any service
        pass


def _ask(method: str, path: str, engine: int = -1) -> Any:
    """The engine's answer; None where there is no such thing. Raises OSError, also where the process that is to
    answer ends before (with a docker.socket, the question would wait for the next one), and Refused.

    Version 1.0 of HTTP, so that an answer ends with the connection.
    """
    with _send(method, path) as line, line.makefile("rb") as reader:
        if engine >= 0:
            waiting = select.poll()
            for fd in (line.fileno(), engine):
                waiting.register(fd, select.POLLIN)
            if line.fileno() not in dict(waiting.poll()):
                raise OSError("the engine has ended")
        status = _status(reader)
        body = reader.read()
    if status == 404:
        return None
    if status >= 400:
        try:
            words = json.loads(body)["message"]
        except (ValueError, KeyError):
            words = f"status {status}"
        raise Refused(status, words)
    return json.loads(body) if body.strip() else {}


def _send(method: str, path: str, headers: str = "") -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.connect(SOCKET)
    version = "1.1" if headers else "1.0"
    lines = [
        f"{method} {path} HTTP/{version}",
        "Host: docker",
        "Content-Length: 0",
        *([headers] if headers else []),
    ]
    line.sendall("".join(f"{each}\r\n" for each in [*lines, ""]).encode())
    return line


def _status(reader: Any) -> int:
    status = reader.readline().split()
    if len(status) < 2:
        raise OSError("it hung up")
    while reader.readline().strip():
        pass
    return int(status[1])


def _notify(text: str) -> None:
    """sd_notify(3)"""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode(), "\0" + where[1:] if where.startswith("@") else where)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
