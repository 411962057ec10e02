"""Holds a session that came by geard-join.socket: runs a keeper on the asker's input and output, tells its end.

    joined.py KEEPER ARGUMENT...      the asker's line is descriptor LINE; $GEARD_SESSION says whose session it is

The line says `W` where the asker's terminal has another size. Where it breaks, the asker is gone, and the program
is ended. Standard library only: it stays for as long as the session.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress

LINE = 5
JOURNAL = "/run/systemd/journal/socket"


def main(argv: list[str]) -> int:
    line = socket.socket(fileno=LINE)
    facts: dict[str, str] = json.loads(os.environ["GEARD_SESSION"].partition("\n")[2])
    child = os.posix_spawn(argv[0], argv, os.environ)
    for fd in (0, 1, 2):  # the program's alone: its end is the end of its output
        os.dup2(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), fd)
    tell(facts, child, "opened")
    status = _hold(line, child)
    tell(facts, child, f"ended with {status}")
    with suppress(OSError):  # gone
        line.send(str(status).encode())
    return 0


def _hold(line: socket.socket, child: int) -> int:
    ended = os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(ended, select.POLLIN)
    waiting.register(line, select.POLLIN)
    while True:
        ready = {fd for fd, _ in waiting.poll()}
        if ended in ready:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            return code if code >= 0 else 128 - code
        try:
            told = line.recv(16)
        except OSError:
            told = b""
        if not told:
            waiting.unregister(line)
        os.kill(child, signal.SIGWINCH if told else signal.SIGHUP)


def tell(facts: dict[str, str], session: int, what: str) -> None:
    """An entry of the journal, by journald's own socket (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    by = f"{facts['By']} from {facts['Source'] or 'this machine'}"
    entry = {
        "MESSAGE": f"session {session} of {facts['Gear']} ({facts['Program']}, {by}): {what}",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "gear",
        "GEARD_GEAR": facts["Gear"],
        "GEARD_SESSION": str(session),
        "GEARD_KEY": facts["Key"],
        "GEARD_SOURCE": facts["Source"],
    }
    text = "".join(f"{name}={value}\n" for name, value in entry.items() if "\n" not in value)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.sendto(text.encode("utf-8", "backslashreplace"), JOURNAL)
    except OSError:
        print(entry["MESSAGE"], file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
