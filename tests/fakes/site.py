"""A web server on an address of this machine, which remembers what it was asked."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import trustme

import geard
from geard.host import fetch


@contextmanager
def real_program() -> Generator[None]:
    """The program that asks others, as it is in this tree."""
    program = Path(geard.__file__).parent / "host/unit_hooks/fetch.py"
    with mock.patch.object(fetch, "PROGRAM", str(program)):
        yield


@dataclass
class Site:
    """A web server on an address of this machine; what it was asked, and what it says to each path."""

    url: str
    port: int
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list[Any])
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict[str, Any])


@contextmanager
def site(
    address: str = "127.0.0.1", port: int = 0, *, certificate: trustme.LeafCert | None = None
) -> Generator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found.asked.append((self.command, self.path, dict(self.headers), body))
            status, headers, text = found.answers.get(self.path, (200, {}, b"A=1\n"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = answer  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer((address, port), Handler) as server:
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        found = Site(f"http://{address}:{server.server_port}", server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
