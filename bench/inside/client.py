"""One keep-alive connection over a unix socket, with as little of the client in the measured time as may be."""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AGENT = "/run/geard/geard.sock"
LIMIT = 600.0
REST_SECONDS = 0.005
IMAGE = "geard/busybox-http-app"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


class Unexpected(Exception):
    """Something other than the success that a measurement needs."""


class Client:
    def __init__(self, path: str = AGENT) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(LIMIT)
        self._socket.connect(path)
        self._read = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, method: str, path: str, body: Any = None, id: str = "", accept: str = "") -> None:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        if data:
            head += "Content-Type: application/json\r\n"
        if id:
            head += f"X-Request-Id: {id}\r\n"
        if accept:
            head += f"Accept: {accept}\r\n"
        self._socket.sendall(head.encode() + b"\r\n" + data)

    def head(self) -> tuple[int, Mapping[str, str]]:
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def chunk(self) -> bytes:
        """The next piece of a chunked body; empty at its end."""
        size = int(self._until(b"\r\n").partition(b";")[0], 16)
        piece = self._exactly(size)
        self._exactly(2)
        return piece

    def ask(
        self, method: str, path: str, body: Any = None, id: str = "", *, accept: str = "", expect: int = 2
    ) -> Reply:
        """One request to the last byte of its answer. Raises Unexpected for a status that is no success."""
        began = time.perf_counter()
        self.send(method, path, body, id, accept)
        status, headers = self.head()
        if headers.get("transfer-encoding") == "chunked":
            answer = b"".join(iter(self.chunk, b""))
        else:
            answer = self._exactly(int(headers.get("content-length", "0")))
        reply = Reply(status, answer, time.perf_counter() - began)
        if expect and status // 100 != expect:
            raise Unexpected(f"{method} {path}: {status} {answer[:400].decode(errors='replace')}")
        return reply

    def _until(self, end: bytes) -> bytes:
        while (at := self._read.find(end)) < 0:
            self._more()
        found, self._read = self._read[:at], self._read[at + len(end) :]
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            self._more()
        found, self._read = self._read[:size], self._read[size:]
        return found

    def _more(self) -> None:
        more = self._socket.recv(1 << 16)
        if not more:
            raise Unexpected("the connection was closed in the middle of an answer")
        self._read += more


def new_id() -> str:
    return secrets.token_hex(16)


class Paced:
    """Asks on one connection, waits for the end of what it set off on another."""

    def __init__(self, path: str = AGENT) -> None:
        self._asking, self._joining = Client(path), Client(path)

    def __enter__(self) -> Paced:
        return self

    def __exit__(self, *_: object) -> None:
        self._asking.__exit__()
        self._joining.__exit__()

    def ask(self, method: str, path: str, body: Any = None) -> float:
        """Seconds to the answer; returns when the report has ended. Raises Unexpected where that failed."""
        id = new_id()
        reply = self._asking.ask(method, path, body, id)
        report = self._joining.ask(method, f"{path}?follow=true", body, id)
        if b"\nerror: " in b"\n" + report.body:
            raise Unexpected(f"{method} {path}: {report.body[-400:].decode(errors='replace')}")
        time.sleep(REST_SECONDS)
        return reply.seconds

    def look(self, path: str) -> Reply:
        return self._asking.ask("GET", path)


def wish(*, port: bool = True) -> dict[str, Any]:
    """The body of an install: one port of the host's choice, or none at all."""
    return {"Image": IMAGE, "Ports": [{"Internal": 8080, "External": 0}] if port else []}


def external_port(client: Paced, id: str) -> int:
    return int(client.look(f"/container/{id}/ports").json()["Ports"][0]["External"])
