"""A web application that counts its visits in redis at 127.0.0.1:6379, wherever that is.

GET / says who answers and which visit it is; GET /healthy whether requests are welcome. TERM ends it when
what it has begun is answered.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STORE = ("127.0.0.1", 6379)
leaving = threading.Event()


class Store:
    """One connection to redis, made again where it was cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def count(self, name: str) -> int:
        """One more. Raises OSError where the store does not answer."""
        with self._lock:
            try:
                return self._ask(f"INCR {name}\r\n")
            except OSError:
                self._connection = None
                return self._ask(f"INCR {name}\r\n")

    def _ask(self, command: str) -> int:
        if self._connection is None:
            self._connection = socket.create_connection(STORE, timeout=5)
        self._connection.sendall(command.encode())
        answer = b""
        while not answer.endswith(b"\r\n"):
            part = self._connection.recv(1024)
            if not part:
                raise ConnectionResetError("the store has ended the connection")
            answer += part
        if not answer.startswith(b":"):
            raise OSError(f"the store says {answer.decode().strip()}")
        return int(answer[1:])


store = Store()


class Visit(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # head and body leave together

    def do_GET(self) -> None:
        if self.path == "/healthy":
            self._answer(503 if leaving.is_set() else 200, {})
            return
        try:
            self._answer(200, {"From": socket.gethostname(), "Visit": store.count("visits")})
        except OSError as error:
            self._answer(503, {"Error": str(error)})

    def _answer(self, status: int, said: dict[str, object]) -> None:
        body = json.dumps(said).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if leaving.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def handle_one_request(self) -> None:
        """As usual, and the end where none comes before it is time to leave."""
        while not select.select([self.connection], [], [], 0.1)[0]:
            if leaving.is_set():
                self.close_connection = True
                return
        super().handle_one_request()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # they are waited for at the end
    request_queue_size = 128


def leave(number: int, frame: object) -> None:
    leaving.set()


def main() -> None:
    with Server(("", 8080), Visit) as server:
        signal.signal(signal.SIGTERM, leave)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        leaving.wait()
        server.shutdown()


if __name__ == "__main__":
    main()
