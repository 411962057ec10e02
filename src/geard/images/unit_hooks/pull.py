#!/usr/bin/python3 -IS
"""Pull one image, as `/run/geard/pulls/KEY` orders; the reason of a failure goes to `KEY.failed`.

gear-pull KEY      the work of geard-pull@KEY.service
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from typing import Any

PULLS = "/run/geard/pulls"
JOURNAL = "/run/systemd/journal/socket"
STALL_SECONDS = 300
OURS = "57c8d5b1ac4d4d1c8e4b7a6f0f3f9d21"  # as in geard/events/entries.py


def main(key: str) -> int:
    if not re.fullmatch("[0-9a-f]{32}", key):
        sys.exit(f"{key!r} is no key of a pull")
    with open(f"{PULLS}/{key}", encoding="utf-8") as file:
        order = json.load(file)
    print(f"pulling {order['name']}", flush=True)
    _note(order, "pulling")
    errors = ""
    done = False
    for each in order["tries"]:  # peers first, then mirrors
        error = _tried(each)
        if error is None:
            done = True
            break
        errors = error
        if "from" in each:
            print(f"not from {each['from']}: {error.strip().rpartition(chr(10))[2][:300]}", flush=True)
    for each in order["tries"]:
        if "remove" in each:
            shutil.rmtree(each["remove"], ignore_errors=True)
    if done:
        os.unlink(f"{PULLS}/{key}")
        _note(order, "pulled")
        return 0
    with open(f"{PULLS}/{key}.failed", "w", encoding="utf-8") as file:
        file.write(errors)
    _note(order, "pull-failed", errors.strip().rpartition("\n")[2].removeprefix("Error: "))
    return 1


def _note(order: dict[str, Any], kind: str, reason: str = "") -> None:
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


def _tried(each: dict[str, Any]) -> str | None:
    """Run one program after the other, until one fails; what that says. Then what was done so far is undone."""
    environment = {**os.environ, **each.get("environment", {})}
    for argv in each["argvs"]:
        said, stalled = "", threading.Event()
        with subprocess.Popen(
            argv, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
        ) as running:
            watch = threading.Thread(
                target=_watch, args=(running, each.get("stall", STALL_SECONDS), stalled), daemon=True
            )
            watch.start()
            for line in running.stderr or ():
                sys.stderr.write(line)  # at once: somebody may be watching the journal
                said = (said + line)[-4_000:]
        if running.returncode:
            if "undo" in each:
                subprocess.run(each["undo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            if stalled.is_set():
                return f"Error: nothing came for {each.get('stall', STALL_SECONDS)} s"
            return said or f"{argv[0]} ended with {running.returncode}"
    return None


def _watch(running: subprocess.Popen[str], seconds: float, stalled: threading.Event) -> None:
    """End a pull that neither reads nor writes nor computes for so long: it has no limit of its own."""
    last, since = "", time.monotonic()
    while running.poll() is None:
        now = _deeds(running.pid)
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > seconds:
            stalled.set()
            running.terminate()
            return
        time.sleep(1)


def _deeds(pid: int) -> str:
    """What changes while a process and those that it started do anything: bytes read and written."""
    found: list[str] = []
    for each in (pid, *_children(pid)):
        try:
            with open(f"/proc/{each}/io", encoding="ascii") as file:
                counts = dict(line.split(": ") for line in file.read().splitlines())
            # Not calls: a program that waits makes some now and then, and reads nothing by them.
            found.append(f"{each} {int(counts['rchar']) >> 10} {int(counts['wchar']) >> 10}")
        except (OSError, ValueError, KeyError):
            continue
    return " ".join(found)


def _children(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
