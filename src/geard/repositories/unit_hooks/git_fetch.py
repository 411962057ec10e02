#!/usr/bin/python3 -IS
"""One way out of geard-githost, which has no network, for as long as a repository is filled from elsewhere.

    gear-git-fetch < ORDER      Url, Allow (networks), Commands (Argv and Environment of each); runs them in order

In the container's network namespace it listens on a port of 127.0.0.1; the other end is here, as the user nobody.
For https and http it is a proxy, which wants a word that only these commands know; for git:// it leads to the one
host that the URL names. Every address is checked as gear-fetch does it, and the one that was checked is dialled.
`PROXY` and `URL` in the commands are what they are to use.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

CONTAINER = "geard-githost"
PODMAN = ("/usr/bin/podman", "--events-backend=none")
NOBODY = 65_534
HEAD_LIMIT = 16_384
PIECE = 65_536


def main() -> int:
    _find_geard()
    from geard.links.netns import inside  # noqa: PLC0415 - found just now

    order: dict[str, Any] = json.load(sys.stdin)
    found = subprocess.run(
        [*PODMAN, "inspect", "--format", "{{.State.Pid}}", CONTAINER], capture_output=True, text=True, check=False
    )
    if found.returncode != 0 or not found.stdout.strip().isdigit():
        sys.exit(f"{CONTAINER} does not run")
    door = inside(int(found.stdout), lambda: socket.create_server(("127.0.0.1", 0)))
    port, word = door.getsockname()[1], secrets.token_urlsafe(24)
    lender = os.fork()
    if lender == 0:
        _become_nobody()
        _Door(door, order["Url"], word, [ipaddress.ip_network(text) for text in order["Allow"]]).serve()
    door.close()
    given: str = order["Url"]
    parts = urlsplit(given)
    plain = parts.scheme == "git"
    url = f"git://127.0.0.1:{port}{parts.path}" if plain else given
    proxy = "" if plain else f"http://geard:{word}@127.0.0.1:{port}"
    try:
        for command in order["Commands"]:
            environment = {
                name: proxy if value == "PROXY" else value for name, value in command["Environment"].items()
            }
            argv = [url if each == "URL" else each for each in command["Argv"]]
            if plain:
                environment["GIT_OVERRIDE_VIRTUAL_HOST"] = parts.netloc
                at = argv.index("exec") + 1
                argv[at:at] = ["--env", "GIT_OVERRIDE_VIRTUAL_HOST"]
            done = subprocess.run(argv, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                return 1
    finally:
        os.kill(lender, 9)
        os.waitpid(lender, 0)
    return 0


class _Door:
    def __init__(self, door: socket.socket, url: str, word: str, allowed: list[Any]) -> None:
        self._door = door
        self._parts = urlsplit(url)
        self._proof = "basic " + base64.b64encode(f"geard:{word}".encode()).decode()
        self._allowed = allowed

    def serve(self) -> None:
        while True:
            line, _ = self._door.accept()
            threading.Thread(target=self._one, args=(line,), daemon=True).start()

    def _one(self, line: socket.socket) -> None:
        with line, suppress(OSError):
            line.settimeout(60)
            try:
                if self._parts.scheme == "git":
                    far = self._dial(self._parts.hostname or "", self._parts.port or 9418)
                    first = b""
                else:
                    far, first = self._asked(line)
            except ValueError as error:
                print(f"fatal: {error}", file=sys.stderr, flush=True)
                line.sendall(b"HTTP/1.1 403 Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with far:
                if first:
                    far.sendall(first)
                _copy(line, far)

    def _asked(self, line: socket.socket) -> tuple[socket.socket, bytes]:
        """Whom a client of the proxy wants, and what that one is to be told first. Raises ValueError."""
        head = b""
        while b"\r\n\r\n" not in head:
            more = line.recv(PIECE)
            if not more or len(head) > HEAD_LIMIT:
                raise ValueError("that is no question to a proxy")
            head += more
        head, _, body = head.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        told = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
        if told.get("proxy-authorization", "").replace("Basic ", "basic ") != self._proof:
            line.sendall(
                b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=geard\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n"
            )
            raise OSError("not for them")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            far = self._dial(host.strip("[]"), int(port))
            line.sendall(b"HTTP/1.1 200 Go on\r\n\r\n")
            return far, body
        parts = urlsplit(target)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{target[:100]!r} is not asked of a proxy")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # One question for each connection, so that the next one is looked at too.
        kept = [each for each in fields if each.lower().partition(":")[0] not in _OURS]
        asked = "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""])
        return self._dial(parts.hostname, parts.port or 80), asked.encode("latin-1") + body

    def _dial(self, host: str, port: int) -> socket.socket:
        from geard.host.unit_hooks import fetch  # noqa: PLC0415 - found by then

        fetch.parse_url(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        return fetch.dial(host, port, self._allowed)


_OURS = ("connection", "proxy-connection", "proxy-authorization", "keep-alive")


def _copy(near: socket.socket, far: socket.socket) -> None:
    near.settimeout(None)
    far.settimeout(None)
    back = threading.Thread(target=_one_way, args=(far, near), daemon=True)
    back.start()
    _one_way(near, far)
    back.join()


def _one_way(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _find_geard() -> None:
    sys.path.append(f"/opt/geard/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")


if __name__ == "__main__":
    sys.exit(main())
