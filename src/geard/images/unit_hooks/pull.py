#!/usr/bin/python3 -IS
"""Pull one image, as `/run/geard/pulls/KEY` orders; the reason of a failure goes to `KEY.failed`.

gear-pull KEY      the work of geard-pull@KEY.service
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys

PULLS = "/run/geard/pulls"
JOURNAL = "/run/systemd/journal/socket"
OURS = "57c8d5b1ac4d4d1c8e4b7a6f0f3f9d21"  # as in geard/events/entries.py


def main(key: str) -> int:
    if not re.fullmatch("[0-9a-f]{32}", key):
        sys.exit(f"{key!r} is no key of a pull")
    with open(f"{PULLS}/{key}", encoding="utf-8") as file:
        order = json.load(file)
    print(f"pulling {order['name']}", flush=True)
    _note(order, "pulling")
    errors = ""
    for argvs in order["tries"]:  # mirrors first
        error = _first_error(argvs)
        if error is None:
            os.unlink(f"{PULLS}/{key}")
            _note(order, "pulled")
            return 0
        errors = error
    with open(f"{PULLS}/{key}.failed", "w", encoding="utf-8") as file:
        file.write(errors)
    _note(order, "pull-failed", errors.strip().rpartition("\n")[2].removeprefix("Error: "))
    return 1


def _note(order: dict[str, str], kind: str, reason: str = "") -> None:
    """An event (docs/API.md), by the journal's native protocol."""
    fields = {
        "MESSAGE": f"{order['name']} {kind}",
        "MESSAGE_ID": OURS,
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "gear",
        "GEARD_EVENT": kind,
        "GEARD_IMAGE": order["name"],
        "GEARD_REQUEST_ID": order.get("request", ""),
        "GEARD_REASON": reason[:500],
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as writer:
        try:
            writer.sendto(
                "".join(f"{name}={value}\n" for name, value in fields.items() if value).encode(), JOURNAL
            )
        except OSError as error:
            sys.stderr.write(f"the journal does not take an event: {error}\n")


def _first_error(argvs: list[list[str]]) -> str | None:
    """Run one program after the other, until one fails; what that says."""
    for argv in argvs:
        said = ""
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, errors="replace") as running:
            for line in running.stderr or ():
                sys.stderr.write(line)  # at once: somebody may be watching the journal
                said = (said + line)[-4_000:]
        if running.returncode:
            return said or f"{argv[0]} ended with {running.returncode}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
