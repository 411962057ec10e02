"""The door of a virtual machine: descriptors do not reach into one, so what they carry goes over a connection.

Outside, a socket like that of any other host's door; inside, a port of the lab's network, whose server hands each
command to the machine's own door. Who asks has to know the machine's token.

One message each way begins with its kind (a letter) and its length. Outwards: `o` and `e`, a piece of stdout or
stderr; `x`, how it ended. Inwards: the request, then `i`, a piece of stdin; an empty one ends it.
"""

import hmac
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab import door

PORT = 43
HEADER = struct.Struct("!cI")
PIECE = 1 << 16
CONNECT = 2.0
"""seconds: on the lab's own bridge nobody is further away"""


def send(connection: socket.socket, kind: bytes, piece: bytes) -> None:
    connection.sendall(HEADER.pack(kind, len(piece)) + piece)


def receive(connection: socket.socket) -> tuple[bytes, bytes]:
    kind, length = HEADER.unpack(door.read_exactly(connection, HEADER.size))
    return kind, door.read_exactly(connection, length)


def serve(listener: socket.socket, serve_one: Callable[[socket.socket], None]) -> None:
    """Each connection in a process of its own: when that ends, so does all that it was to carry."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            try:
                serve_one(connection)
            finally:
                os._exit(0)
        connection.close()


def in_background(deed: Callable[[], None]) -> None:
    threading.Thread(target=deed, daemon=True).start()


def write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


# outside


def carry(caller: socket.socket, address: str, token: str) -> None:
    """Give a caller of the outer door what the machine answers."""
    header, descriptors, _, _ = socket.recv_fds(caller, door.LENGTH.size, 3)
    request = door.read_exactly(caller, door.LENGTH.unpack(header)[0])
    stdin, *outputs = descriptors
    with socket.create_connection((address, PORT), CONNECT) as machine:
        machine.settimeout(None)
        send(machine, b"r", json.dumps({"token": token, "request": request.decode()}).encode())

        def feed() -> None:
            with suppress(OSError):
                while piece := os.read(stdin, PIECE):
                    send(machine, b"i", piece)
                send(machine, b"i", b"")

        in_background(feed)

        def hang_up() -> None:
            with suppress(OSError):
                caller.recv(1)
                machine.shutdown(socket.SHUT_WR)

        in_background(hang_up)
        while (message := receive(machine))[0] != b"x":
            with suppress(BrokenPipeError):
                write(outputs[0 if message[0] == b"o" else 1], message[1])
        with suppress(BrokenPipeError):
            caller.sendall(message[1])


def keep(path: str, address: str, token: str, command: list[str]) -> int:
    """Run the machine, and its door for as long as it runs."""
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        Path(path).chmod(0o600)
        listener.listen(256)
        # before there are threads: who serves is a copy of this process
        if (server := os.fork()) == 0:
            serve(listener, lambda caller: carry(caller, address, token))
    status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    os.kill(server, signal.SIGKILL)
    Path(path).unlink(missing_ok=True)
    return status


# inside


def obey(connection: socket.socket, inner: Path, token: str) -> None:
    """Have a command run by the inner door, its descriptors pipes to the one who asked."""
    _, text = receive(connection)
    asked = json.loads(text)
    if not hmac.compare_digest(asked["token"], token):
        return
    (stdin, feeding), (reading, stdout), (reading_errors, stderr) = (os.pipe() for _ in range(3))

    def feed() -> None:
        with suppress(OSError):
            while (message := receive(connection))[1]:
                with suppress(BrokenPipeError):
                    write(feeding, message[1])
            os.close(feeding)

    in_background(feed)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as command:
        door.begin(command, inner, asked["request"].encode(), (stdin, stdout, stderr))
        kinds = {reading: b"o", reading_errors: b"e"}
        watched = select.poll()
        for descriptor in (*kinds, command.fileno()):
            watched.register(descriptor, select.POLLIN)
        watched.register(connection.fileno(), select.POLLRDHUP)
        # What it leaves behind may keep its stdout: then that does not end, but what it wrote itself is there.
        while ready := {descriptor for descriptor, _ in watched.poll()}:
            if connection.fileno() in ready:  # they hung up: so do we, and hear what it still says as it ends
                watched.unregister(connection.fileno())
                command.shutdown(socket.SHUT_WR)
            elif ready == {command.fileno()}:
                break
            for descriptor in ready & kinds.keys():
                send(connection, kinds[descriptor], os.read(descriptor, PIECE))
        send(connection, b"x", door.read_exactly(command, door.LENGTH.size))


def main(words: list[str]) -> int:
    if words[0] == "outside":
        return keep(words[1], words[2], Path(words[3]).read_text(encoding="ascii"), words[4:])
    listener = socket.create_server(("0.0.0.0", PORT), backlog=256)
    token = Path(os.environ["CREDENTIALS_DIRECTORY"], "lab.token").read_text(encoding="ascii")
    serve(listener, lambda connection: obey(connection, Path(words[1]), token))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
