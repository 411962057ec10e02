#!/usr/bin/python3 -IS
"""Pull one image, as `/run/geard/pulls/KEY` orders; the reason of a failure goes to `KEY.failed`.

gear-pull KEY      the work of geard-pull@KEY.service

The engine tells bytes to terminals alone, so it is given one. How many there are goes to `KEY.bytes`, which is
locked (flock(2)) for as long as it is true.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

PULLS = "/run/geard/pulls"
COMING = "/var/lib/geard/pulls"
"""layers while they come, a folder for each pull: an engine that is killed leaves them there"""
JOURNAL = "/run/systemd/journal/socket"
STALL_SECONDS = 300
TELL_SECONDS = 0.2
LEAST = 4_096
"""bytes of what a program reads and writes that are a sign of life"""
SIZE = struct.pack("HHHH", 500, 200, 0, 0)
"""rows and columns: a line for each layer, and none cut short"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COUNT = r"([0-9.]+) ?([kKMGT]?i?)[bB]"
# podman: Copying blob 9425d0b47a1a [=====>----] 7.4MiB / 38.2MiB | 147.4 MiB/s; … done; … skipped: already exists
# docker: 9425d0b47a1a: Downloading [====>    ]  7.4MB/38.2MB; … Download complete; … Pull complete
LAYER = r"(?:Copying blob (?:sha256:)?|(?=[0-9a-f]{12}: ))([0-9a-f]{12,64}):?"
PART = re.compile(rf"{LAYER} (?!Extracting).*?{COUNT} ?/ ?{COUNT}")
OVER = re.compile(rf"{LAYER} (?:done|Download complete|Pull complete)")
DOCKERS = re.compile(r"[0-9a-f]{12}: ")
UNITS = {"": 1, "k": 1_000, "K": 1_000, "M": 10**6, "G": 10**9, "T": 10**12}
OURS = "57c8d5b1ac4d4d1c8e4b7a6f0f3f9d21"  # as in geard/events/entries.py


def main(key: str) -> int:
    if not re.fullmatch("[0-9a-f]{32}", key):
        sys.exit(f"{key!r} is no key of a pull")
    with open(f"{PULLS}/{key}", encoding="utf-8") as file:
        order = json.load(file)
    print(f"pulling {order['name']}", flush=True)
    _note(order, "pulling")
    layers = Layers(f"{PULLS}/{key}.bytes", order)
    os.environ["TMPDIR"] = coming = f"{COMING}/{key}"
    shutil.rmtree(coming, ignore_errors=True)
    os.makedirs(coming, mode=0o700)
    errors = ""
    done = False
    for each in order["tries"]:  # peers first, then mirrors
        error = _tried(each, layers)
        if error is None:
            done = True
            break
        errors = error
        if "from" in each:
            print(f"not from {each['from']}: {error.strip().rpartition(chr(10))[2][:300]}", flush=True)
    layers.close()
    shutil.rmtree(coming, ignore_errors=True)
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


class Layers:
    """How much of each layer has come, from what the engine draws."""

    def __init__(self, path: str = "", order: dict[str, Any] | None = None) -> None:
        self._parts: dict[str, tuple[int, int]] = {}
        self._path, self._order, self._told = path, order or {}, 0.0
        self._file = -1
        if path:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._tell()

    def begin(self) -> None:
        """From another place, from the beginning."""
        self._parts.clear()

    def take(self, line: str) -> bool:
        """Whether the line tells of a layer."""
        if part := PART.match(line):
            total = _count(part[4], part[5])
            self._parts[part[1][:12]] = (min(_count(part[2], part[3]), total), total)
        elif over := OVER.match(line):
            total = self._parts.get(over[1][:12], (0, 0))[1]
            self._parts[over[1][:12]] = (total, total)
        elif not line.startswith("Copying ") and not DOCKERS.match(line):
            return False
        self._tell()
        return True

    def sums(self) -> tuple[int, int]:
        return sum(done for done, _ in self._parts.values()), sum(total for _, total in self._parts.values())

    def _tell(self) -> None:
        now = time.monotonic()
        if self._file < 0 or now - self._told < TELL_SECONDS:
            return
        self._told = now
        done, total = self.sums()
        facts = {
            "Image": self._order["name"],
            "Engine": self._order.get("engine", ""),
            "Done": done,
            "Total": total,
        }
        text = json.dumps(facts).encode()
        os.pwrite(self._file, text.ljust(os.fstat(self._file).st_size), 0)  # never shorter: whole for who reads

    def close(self) -> None:
        if self._file >= 0:
            os.unlink(self._path)
            os.close(self._file)


def _count(number: str, unit: str) -> int:
    """7.4, Mi: bytes."""
    factor = 1_024 ** " kMGT".index(unit[0].replace("K", "k")) if unit.endswith("i") else UNITS[unit]
    return int(float(number) * factor)


def _tried(each: dict[str, Any], layers: Layers | None = None) -> str | None:
    """Run one program after the other, until one fails; what that says. Then what was done so far is undone."""
    environment = {**os.environ, **each.get("environment", {})}
    layers = layers or Layers()
    layers.begin()
    for argv in each["argvs"]:
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, SIZE)
        said, stalled, seen = "", threading.Event(), Seen()
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
        ) as running:
            os.close(theirs)
            watch = threading.Thread(
                target=_watch, args=(running, each.get("stall", STALL_SECONDS), stalled, seen), daemon=True
            )
            watch.start()
            for line in _lines(ours, seen):
                if not layers.take(line):
                    sys.stderr.write(f"{line}\n")  # at once: somebody may be watching the journal
                    sys.stderr.flush()
                    said = (said + f"{line}\n")[-4_000:]
        os.close(ours)
        if running.returncode:
            if "undo" in each:
                subprocess.run(each["undo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            if stalled.is_set():
                return f"Error: nothing came for {each.get('stall', STALL_SECONDS)} s"
            return said or f"{argv[0]} ended with {running.returncode}"
    return None


class Seen:
    """Bytes that a program drew on its terminal: a bar that is drawn anew is no sign of life."""

    count = 0


def _lines(fd: int, seen: Seen) -> Iterator[str]:
    """What is drawn on a terminal, a line after the other, until nobody holds its other end."""
    rest = ""
    while True:
        try:
            data = os.read(fd, 65_536)
        except OSError:
            break
        if not data:
            break
        seen.count += len(data)
        *whole, rest = re.split("[\r\n]+", rest + data.decode(errors="replace"))
        for each in whole:
            if line := CONTROL.sub("", each).strip():
                yield line
    if line := CONTROL.sub("", rest).strip():
        yield line


def _watch(running: subprocess.Popen[bytes], seconds: float, stalled: threading.Event, seen: Seen) -> None:
    """End a pull that neither reads nor writes for so long: it has no limit of its own."""
    last, since = 0, time.monotonic()
    while running.poll() is None:
        now = _deeds(running.pid) - seen.count
        if abs(now - last) >= LEAST:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > seconds:
            stalled.set()
            running.terminate()
            return
        time.sleep(1)


def _deeds(pid: int) -> int:
    """Bytes that a process and those that it started have read and written."""
    found = 0
    for each in (pid, *_children(pid)):
        try:
            with open(f"/proc/{each}/io", encoding="ascii") as file:
                counts = dict(line.split(": ") for line in file.read().splitlines())
            # Not calls: a program that waits makes some now and then, and reads nothing by them.
            found += int(counts["rchar"]) + int(counts["wchar"])
        except (OSError, ValueError, KeyError):
            continue
    return found


def _children(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
