#!/usr/bin/python3 -IS
"""What a gear's user runs on the host, whatever it asks for: its login shell, and what sshd forces on it.

It has no rights. It hands its input, output and errors to geard-join.socket, which knows by the kernel's word
whose uid has come, has the engine run the command inside that one gear, and says with what status it ended.
Meanwhile this waits, tells of a terminal's new size, and is the session's end: gone, the program inside is ended.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import sys

SOCKET = "/run/geard/join.sock"
OWN_FAILURE = 125
_ITSELF = "/usr/lib/geard/gear-join"


def main(argv: list[str]) -> int:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGWINCH, lambda number, frame: None)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.connect(SOCKET)
            files = array.array("i", [0, 1, 2]).tobytes()
            line.sendmsg([json.dumps(_wish(argv)).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
            return _wait(line, woken)
    except OSError as error:
        print(f"gear: cannot enter it: {error.strerror or error}", file=sys.stderr)
        return OWN_FAILURE


def _wish(argv: list[str]) -> dict[str, str | None]:
    """Variables of a client's are left here, but for what kind of terminal it has."""
    command = os.environ.get("SSH_ORIGINAL_COMMAND")
    if command is None and argv[:1] == ["-c"] and argv[1:] != [_ITSELF]:
        command = " ".join(argv[1:])  # su(1), and not sshd
    return {
        "Command": command,
        "Term": os.environ.get("TERM", ""),
        "Source": os.environ.get("SSH_CONNECTION", "").partition(" ")[0],
        "Key": _key(os.environ.get("SSH_USER_AUTH", "")),
    }


def _key(path: str) -> str:
    """The key that was let in (ExposeAuthInfo, sshd_config(5)): `publickey TYPE BASE64`."""
    try:
        with open(path, encoding="ascii") as file:
            return next((line.partition(" ")[2].strip() for line in file if line.startswith("publickey ")), "")
    except OSError:
        return ""


def _wait(line: socket.socket, woken: int) -> int:
    # sshd does not tell a program without a terminal that its client is gone; it ends itself.
    parent = os.pidfd_open(os.getppid())
    waiting = select.poll()
    for fd in (line.fileno(), woken, parent):
        waiting.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in waiting.poll()}
        if line.fileno() in ready:
            status = line.recv(16)
            if not status:
                print("gear: the session was cut", file=sys.stderr)
                return OWN_FAILURE
            return int(status)
        if parent in ready:
            return OWN_FAILURE
        os.read(woken, 64)
        line.send(b"W")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
