"""geard, forked from a process that has read it already: the same code as `/usr/bin/gear` runs, sooner."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geard import __main__ as program
from geard import catalog
from geard.daemon.server import Listen, serve
from geard.dispatch.dispatcher import Dispatcher
from geard.host.here import this_host

SOCKET = Path("/run/geard/faults.sock")

for door in ("requests", "commands", "operations", "facet", "services"):
    catalog.doors(door)
importlib.import_module("geard.daemon.local")  # __main__ imports it late; a child would read it anew


@dataclass(frozen=True)
class Ask:
    """One request, as it is put to `gear` and as it is put to the agent."""

    words: tuple[str, ...]
    method: str
    path: str
    body: Any = None
    request: str = ""
    """the id it is asked with over HTTP"""


def command(ask: Ask, output: int) -> Callable[[], None]:
    """`gear …`, saying what it says to `output`."""

    def run() -> None:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = ["gear", *ask.words]
        status = 0
        try:
            program.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    return run


def agent(output: int) -> Callable[[], None]:
    """`gear daemon`, on a socket of our own."""

    def run() -> None:
        os.dup2(output, 1)
        os.dup2(output, 2)
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)

        async def be() -> None:
            await serve(this_host(), listen=Listen(SOCKET, None))

        asyncio.run(be())
        os._exit(0)

    return run


def next_agent() -> None:
    """What an agent does by itself when it starts, to its end."""

    async def be() -> None:
        host = this_host()
        dispatcher = Dispatcher(host, catalog.load())
        await dispatcher.resume()
        for service in catalog.doors("services"):
            if service.__name__ == "geard.joining.services":  # which has begun with that
                continue
            # What was owed is paid to the end; the others go on as long as an agent does: a moment is enough.
            seconds = None if service.__name__ == "geard.containers.services" else 0.3
            with suppress(TimeoutError):
                await asyncio.wait_for(service.serve(host, dispatcher), seconds)
        await dispatcher.drain()

    asyncio.run(be())
    os._exit(0)


def asks(ask: Ask, output: int) -> Callable[[], None]:
    """Put a request to the agent; write down all it answers. Ends with 0 where it went well to its end."""

    def run() -> None:
        body = b"" if ask.body is None else json.dumps(ask.body).encode()
        joint = "&" if "?" in ask.path else "?"
        head = (
            f"{ask.method} {ask.path}{joint}follow=true HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            "Accept: application/x-ndjson",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *([f"X-Request-Id: {ask.request}"] if ask.request else ()),
        )
        with socket.socket(socket.AF_UNIX) as line:
            _connect(line)
            line.sendall("\r\n".join((*head, "", "")).encode() + body)
            said = b""
            while True:
                try:
                    piece = line.recv(1 << 16)
                except ConnectionResetError:
                    break
                if not piece:
                    break
                said += piece
                os.write(output, piece)
        os._exit(0 if b'{"Done":true}' in said else 1)

    return run


def _connect(line: socket.socket) -> None:
    for _ in range(200):
        try:
            line.connect(str(SOCKET))
            return
        except ConnectionRefusedError:  # bound, and not listened at yet
            time.sleep(0.01)
    raise ConnectionRefusedError(SOCKET)


def fork(deed: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            deed()
        finally:
            os._exit(98)
    return pid


def run(deed: Callable[[], None], seconds: float = 60) -> int:
    """To its end; its exit status. One that takes too long is killed: -9."""
    pid = fork(deed)
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


class Output:
    """What a process says."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - it lasts as long as this

    def fileno(self) -> int:
        return self.file.fileno()

    def text(self) -> str:
        self.file.seek(0)
        return self.file.read().decode(errors="replace")
