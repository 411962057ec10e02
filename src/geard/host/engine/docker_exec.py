"""Runs a program inside a container of Docker Engine, on this process's stdin, stdout and stderr.

    docker_exec.py CONTAINER FACTS [ENV-FILE] [NAME…]

FACTS is the body of the API's "create an exec instance", as JSON. Variables are the NAME=VALUE lines of ENV-FILE,
where that is not empty, and NAMEs of this process's own environment: values stand on no command line.

docker's own client would do, but that it never tells which process it has started, so no signal would reach that.
Here its id on the host, and when it began, are written to descriptor 4 for the keeper (host/keeper.py) under which
this runs. Ends with the program's status; 126 where it cannot be executed, 127 where there is no such program, 125
where the engine fails. Standard library only: somebody waits for it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import tty
from collections.abc import Generator
from contextlib import suppress
from typing import IO, Any

SOCKET = "/run/docker.sock"
PROGRAM = 4
ENGINE_FAILED = 125
_PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Refused(Exception):
    """The engine said no."""


def main(container: str, facts: str, env_file: str = "", *names: str) -> int:
    wanted: dict[str, Any] = json.loads(facts)
    wanted["Env"] = [*_lines(env_file), *(f"{name}={os.environ[name]}" for name in names)]
    try:
        return _exec(container, wanted)
    except Refused as refused:
        print(f"Error: {refused}", file=sys.stderr)
        return ENGINE_FAILED
    except BrokenPipeError:  # nobody reads what it writes: the keeper ends it
        return ENGINE_FAILED
    except OSError as error:
        print(f"Error: Docker Engine: {error}", file=sys.stderr)
        return ENGINE_FAILED


def _exec(container: str, wanted: dict[str, Any]) -> int:
    passing_on = _PassingOn()
    id = str(_ask("POST", f"/containers/{container}/exec", wanted)["Id"])
    terminal = bool(wanted["Tty"])
    line, output = _start(id, terminal=terminal)
    program = _program(id)
    if not program:
        said = b"".join(data for _, data in _frames(output, terminal=terminal)).decode(errors="replace").strip()
        print(f"Error: {said}", file=sys.stderr)
        return _could_not_start(said)
    _tell_keeper(program)
    passing_on.to(program)
    if terminal and os.isatty(0):
        tty.setraw(0)

        def resize(number: int, frame: object) -> None:
            _resize(id)

        signal.signal(signal.SIGWINCH, resize)
        _resize(id)
    if wanted["AttachStdin"]:
        threading.Thread(target=_feed, args=(line,), daemon=True).start()
    for fd, data in _frames(output, terminal=terminal):
        _print(fd, data)
    return _status(id)


class _PassingOn:
    """Signals, on to the program as soon as it is there."""

    def __init__(self) -> None:
        self._program = 0
        self._waiting: list[int] = []
        for name in _PASSED_ON:
            signal.signal(name, self._heed)

    def to(self, program: int) -> None:
        self._program = program
        for name in self._waiting:
            self._heed(name, None)

    def _heed(self, name: int, frame: object) -> None:
        if not self._program:
            self._waiting.append(name)
            return
        with suppress(ProcessLookupError):
            os.kill(self._program, name)


def _lines(env_file: str) -> list[str]:
    if not env_file:
        return []
    with open(env_file, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return [line for line in file.read().split("\n") if line]


def _start(id: str, *, terminal: bool) -> tuple[socket.socket, IO[bytes]]:
    """The line to what runs: written to it is its input, read from it are its outputs."""
    line = _send("POST", f"/exec/{id}/start", {"Detach": False, "Tty": terminal}, upgrade=True)
    reader = line.makefile("rb")
    status = _http_status(reader)
    if status not in (101, 200):
        raise Refused(_words(status, reader.read()))
    return line, reader


def _program(id: str) -> int:
    """Its process id on the host; 0 where it could not be started."""
    while True:
        found = _ask("GET", f"/exec/{id}/json")
        if found["Pid"] or (not found["Running"] and found["ExitCode"] is not None):
            return int(found["Pid"])
        time.sleep(0.01)


def _status(id: str) -> int:
    while True:
        found = _ask("GET", f"/exec/{id}/json")
        if not found["Running"]:
            return int(found["ExitCode"])
        time.sleep(0.02)


def _could_not_start(words: str) -> int:
    return 127 if "executable file not found" in words or "no such file or directory" in words else 126


def _tell_keeper(program: int) -> None:
    """With its start, by which it is known from another that has got the same number."""
    try:
        with open(f"/proc/{program}/stat", encoding="utf-8", errors="replace") as file:
            began = file.read().rpartition(")")[2].split()[19]
        os.pwrite(PROGRAM, f"{program} {began}\n".encode(), 0)
    except OSError:  # it has ended already, or there is no keeper
        pass


def _resize(id: str) -> None:
    size = os.get_terminal_size(0)
    with suppress(Refused):  # it has just ended
        _ask("POST", f"/exec/{id}/resize?h={size.lines}&w={size.columns}")


def _feed(line: socket.socket) -> None:
    try:
        while data := os.read(0, 65_536):
            line.sendall(data)
        line.shutdown(socket.SHUT_WR)
    except OSError:  # it reads no more
        pass


def _frames(output: IO[bytes], *, terminal: bool) -> Generator[tuple[int, bytes]]:
    """What the program writes, and whether to stdout (1) or stderr (2). On a terminal they are one, and as they
    are; else in frames: one byte for which, three of nothing, four of length (ContainerAttach in the API).
    """
    reader: Any = output
    while terminal and (data := reader.read1(65_536)):
        yield 1, data
    while not terminal and len(header := reader.read(8)) == 8:
        left = int.from_bytes(header[4:], "big")
        while left and (data := reader.read1(min(left, 65_536))):
            left -= len(data)
            yield (2 if header[0] == 2 else 1), data


def _print(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _ask(method: str, path: str, body: object = None) -> Any:
    with _send(method, path, body) as line, line.makefile("rb") as reader:
        status = _http_status(reader)
        answer = reader.read()
    if status >= 400:
        raise Refused(_words(status, answer))
    return json.loads(answer) if answer.strip() else {}


def _words(status: int, answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError):
        return f"Docker Engine answers with status {status}"


def _send(method: str, path: str, body: object = None, *, upgrade: bool = False) -> socket.socket:
    """Version 1.0 of HTTP, but for an upgrade: an answer ends with the connection."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(SOCKET)
    data = b"" if body is None else json.dumps(body).encode(errors="surrogateescape")
    lines = [
        f"{method} {path} HTTP/{'1.1' if upgrade else '1.0'}",
        "Host: docker",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        *(["Upgrade: tcp", "Connection: Upgrade"] if upgrade else []),
        "\r\n",
    ]
    line.sendall("\r\n".join(lines).encode() + data)
    return line


def _http_status(reader: IO[bytes]) -> int:
    status = reader.readline().split()
    if len(status) < 2:
        raise OSError("it hung up")
    while reader.readline().strip():
        pass
    return int(status[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
