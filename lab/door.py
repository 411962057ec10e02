"""The way into a host: a socket whose server runs commands inside, in the host's own control group.

The caller sends a command with its own stdin, stdout and stderr (the file descriptors themselves), and is
told how it ended. When the caller goes away, the command's process group is ended: TERM, after two seconds
KILL; what made itself a daemon stays.

This file is both ends. The server's is copied into each host and run there alone, by the host's own Python:
standard library only, and nothing from this package. It needs neither the bus nor an answer of PID 1, so that
tests can take those away.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LENGTH = struct.Struct("!I")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
}


class DoorClosed(Exception):
    """Nobody answers: the host is down, or went down while the command ran."""


# outside


def run(
    door: Path,
    command: Sequence[str],
    descriptors: Sequence[int] = (0, 1, 2),
    *,
    timeout: float | None = None,
) -> int:
    """Run a command in the host behind the door; its exit status, or 128 + the signal that killed it."""
    environment = {**ENVIRONMENT, **{name: os.environ[name] for name in ("TERM",) if name in os.environ}}
    request = json.dumps({"command": list(command), "environment": environment}).encode()
    return ask(door, request, descriptors, timeout)


def ask(door: Path, request: bytes, descriptors: Sequence[int], timeout: float | None = None) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            begin(connection, door, request, descriptors)
            answer = read_exactly(connection, LENGTH.size)
        except TimeoutError:
            raise
        except OSError as error:
            raise DoorClosed(str(error)) from error
    return int(LENGTH.unpack(answer)[0])


def begin(connection: socket.socket, door: Path, request: bytes, descriptors: Sequence[int]) -> None:
    connection.connect(str(door))
    socket.send_fds(connection, [LENGTH.pack(len(request))], list(descriptors))
    connection.sendall(request)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        more = connection.recv(size - len(read))
        if not more:
            raise ConnectionError("closed")
        read += more
    return read


# inside


def serve(path: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who serve a connection
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        new = path + ".new"
        Path(new).unlink(missing_ok=True)
        listener.bind(new)
        Path(new).chmod(0o600)
        listener.listen(256)
        Path(new).rename(path)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                serve_one(connection)
            connection.close()


def serve_one(connection: socket.socket) -> None:
    """Run one command, and end this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        header, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
        request = json.loads(read_exactly(connection, LENGTH.unpack(header)[0]))
        child = os.fork()
        if child == 0:
            become(request["command"], request["environment"], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(LENGTH.pack(follow(child, connection)))
    finally:
        os._exit(0)


def become(command: list[str], environment: Mapping[str, str], descriptors: list[int]) -> None:
    try:
        os.setsid()
        # up first, so that none is overwritten before it has been moved
        above = [os.dup(descriptor) for descriptor in descriptors]
        for number, descriptor in enumerate(above):
            os.dup2(descriptor, number)
        os.closerange(3, 1024)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        home = environment["HOME"]
        os.chdir(home if os.access(home, os.X_OK) else "/")
        os.execvpe(command[0], command, environment)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def follow(child: int, connection: socket.socket) -> int:
    """Wait for the command; end it when the caller hangs up."""
    ended = os.pidfd_open(child)
    patience: float | None = None
    hung_up = False
    while True:
        watched = [ended] if hung_up else [ended, connection.fileno()]
        ready, _, _ = select.select(watched, [], [], patience)
        if ended in ready:
            break
        if not ready:
            end_group(child, signal.SIGKILL)
            patience = None
        elif not hung_up:
            hung_up, patience = True, 2.0
            end_group(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def end_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except ProcessLookupError:  # it has not made its group yet, or has ended
        time.sleep(0.05)
        try:
            os.killpg(leader, number)
        except ProcessLookupError:
            return


if __name__ == "__main__":
    serve(sys.argv[1])
