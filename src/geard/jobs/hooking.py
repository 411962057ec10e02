"""What the two programs of a job's unit share: its files, the journal, running others. Standard library only."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from typing import Any

RUN = "/run/geard/jobs"
IMAGES = "/var/lib/containers/storage/overlay-images/images.json"
DOCKER_SOCKET = "/run/docker.sock"
JOURNAL = "/run/systemd/journal/socket"
OURS = "57c8d5b1ac4d4d1c8e4b7a6f0f3f9d21"  # as in geard/events/entries.py

Facts = dict[str, Any]


def read_json(path: str) -> Facts | None:
    try:
        with open(path, encoding="utf-8") as file:
            found: Facts = json.load(file)
            return found
    except (FileNotFoundError, ValueError):
        return None


def read_text(path: str) -> str:
    """Empty where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def write(path: str, text: str) -> int:
    """Whole; the file, open, for who wants it on the disk for sure."""
    draft = f"{path}.tmp"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(fd, text.encode())
    os.rename(draft, path)
    return fd


def note(order: Facts, kind: str, message: str, **more: str) -> None:
    """An event (docs/API.md), by the journal's native protocol."""
    fields = {
        "MESSAGE": f"job {order['Id']} {kind.removeprefix('job-')}" + (f": {message}" if message else ""),
        "MESSAGE_ID": OURS,
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "gear",
        "GEARD_EVENT": kind,
        "GEARD_GEAR": order["Id"],
        "GEARD_TEXT": message,
        "GEARD_REQUEST_ID": order.get("Request", ""),
        "GEARD_ASKER": order.get("By", ""),
        "GEARD_IMAGE": order.get("Image", ""),
        **more,
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as writer:
        try:
            writer.sendto(
                "".join(f"{name}={_line(value)}\n" for name, value in fields.items() if value).encode(), JOURNAL
            )
        except OSError:
            return


def notify(text: str) -> None:
    """sd_notify(3)"""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode(), "\0" + where[1:] if where.startswith("@") else where)


def image_is_here(order: Facts) -> bool:
    """A look at the engine's list of images; podman itself is asked (50 ms) only where that does not say yes."""
    image = order["Image"]
    if order["Engine"] == "docker":
        return _docker_has(f"/images/{image}/json")
    try:
        with open(IMAGES, encoding="utf-8") as file:
            known: list[Facts] = json.load(file)
    except (OSError, ValueError):
        known = []
    names: set[str] = set()
    for each in known:
        names |= {str(each.get("id", "")), *(each.get("names") or ())}
    full = image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"
    if full in names or image in names or f"docker.io/{full}" in names:
        return True
    return run(["/usr/bin/podman", "--events-backend=none", "image", "exists", image]) == 0


def spawn(argv: list[str], files: tuple[int, int, int], more: Mapping[str, str] | None = None) -> int:
    """A program that is not waited for, with these files and `more` variables. Raises OSError.

    A session of its own, so that a terminal that it is given is nobody's controlling one.
    """
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(files)]
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"} | dict(more or {})
    default = {signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    return os.posix_spawn(argv[0], argv, environment, file_actions=actions, setsid=True, setsigdef=default)


def run(argv: list[str]) -> int:
    """The exit status of a program; what it prints goes to the journal."""
    try:
        child = os.posix_spawn(argv[0], argv, os.environ)
    except OSError:
        return 127
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def output(argv: list[str]) -> str:
    """What a program prints, less than a pipe holds."""
    reader, writer = os.pipe()
    files = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_CLOSE, reader)]
    try:
        child = os.posix_spawn(argv[0], argv, os.environ, file_actions=files)
    finally:
        os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def release_slot(order: Facts) -> None:
    """Its users and address are another's to have."""
    link = order.get("Slot", "")
    try:
        if link and os.readlink(link) == order["Folder"]:
            os.unlink(link)
    except OSError:
        return


def _docker_has(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(DOCKER_SOCKET)
            line.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            return line.recv(16).split()[1:2] != [b"404"]
    except OSError:
        return True  # the start says what is wrong


def _line(text: str) -> str:
    return text.replace("\n", " ")
