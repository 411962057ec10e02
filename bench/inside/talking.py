"""Both ends of connections: `python3 -m bench.inside.talking VERB WORD…`, standard library only.

serve NAME PORT SINK    the far end: at PORT it says its name to who connects and then repeats what it is told;
                        at SINK it takes what comes, and says so when it has had all
watch ADDRESS PORT      connects again and again, and keeps some of those connections, until its input ends
ask                     of each line of input one measurement, its result a line of output: `meet ADDRESS PORT
                        TIMES`, `ping ADDRESS PORT TIMES`, `push ADDRESS PORT MEGABYTES`; in seconds
"""

from __future__ import annotations

import select
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

SECONDS = 5.0
MEGABYTE = bytes(1 << 20)
PAUSE = 0.0005
KEEP_EVERY, KEEP_MOST = 20, 100
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: no port of a connection that is over stays taken"""


# the far end


def serve(name: str, port: int, sink: int) -> None:
    with socket.create_server(("", port), backlog=512) as server, socket.create_server(("", sink)) as drain:
        print("ready", flush=True)
        threading.Thread(target=accept, args=(drain, take), daemon=True).start()
        accept(server, lambda line: repeat(line, name))


def accept(server: socket.socket, talk: Callable[[socket.socket], None]) -> None:
    def one(line: socket.socket) -> None:
        with line, suppress(OSError):
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            talk(line)

    while True:
        threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()


def repeat(line: socket.socket, name: str) -> None:
    line.sendall(f"{name}\n".encode())
    while heard := line.recv(1_024):
        line.sendall(heard)


def take(line: socket.socket) -> None:
    room = bytearray(1 << 20)
    while line.recv_into(room):
        pass
    line.sendall(b"!")


# the near end


def meet(address: str, port: int) -> tuple[socket.socket, str]:
    """A connection, and who is there. Raises OSError."""
    line = socket.create_connection((address, port), timeout=SECONDS)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    said = b""
    while not said.endswith(b"\n"):
        more = line.recv(100)
        if not more:
            raise ConnectionResetError("it hung up")
        said += more
    return line, said.decode().strip()


def echoed(line: socket.socket, word: bytes = b"0123456789abcdef" * 4) -> bool:
    heard = b""
    with suppress(OSError):
        line.sendall(word)
        while len(heard) < len(word):
            more = line.recv(1_024)
            if not more:
                return False
            heard += more
    return heard == word


def watch(address: str, port: int) -> None:
    """A line for each connection: when it was begun, when its far end had said its name, that name, or `-` where
    it failed; last `kept COUNT lost COUNT`. Times are the machine's own (CLOCK_MONOTONIC).
    """
    kept: list[socket.socket] = []
    told: list[str] = []
    lost = number = 0
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        began = time.monotonic()
        try:
            line, name = meet(address, port)
        except OSError:
            told.append(f"{began} {time.monotonic()} -")
            continue
        told.append(f"{began} {time.monotonic()} {name}")
        number += 1
        if number % KEEP_EVERY == 0 and len(kept) < KEEP_MOST:
            kept.append(line)
        else:
            line.close()
        if kept and not echoed(kept[number % len(kept)]):
            lost += 1
            del kept[number % len(kept)]
    count = len(kept) + lost
    lost += sum(not echoed(line) for line in kept)
    print("\n".join(told))
    print(f"kept {count} lost {lost}", flush=True)


def ask() -> None:
    """`ping` and `push` on a connection of their own; `meet` and `ping` give the median of their times."""
    for question in sys.stdin:
        verb, address, port, number = question.split()
        print(ANSWERS[verb](address, int(port), int(number)), flush=True)


def time_meetings(address: str, port: int, times: int) -> float:
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        line, _ = meet(address, port)
        took.append(time.perf_counter() - began)
        line.close()
    return statistics.median(took)


def time_answers(address: str, port: int, times: int) -> float:
    took: list[float] = []
    line, _ = meet(address, port)
    with line:
        for _ in range(times):
            began = time.perf_counter()
            if not echoed(line):
                raise ConnectionResetError("it hung up")
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def time_transfer(address: str, port: int, megabytes: int) -> float:
    """From the first byte to the word that the last has come."""
    with socket.create_connection((address, port), timeout=60) as line:
        began = time.perf_counter()
        for _ in range(megabytes):
            line.sendall(MEGABYTE)
        line.shutdown(socket.SHUT_WR)
        if line.recv(1) != b"!":
            raise ConnectionResetError("it hung up")
        return time.perf_counter() - began


ANSWERS: dict[str, Callable[[str, int, int], float]] = {
    "meet": time_meetings,
    "ping": time_answers,
    "push": time_transfer,
}


def main(verb: str, *words: str) -> None:
    match verb:
        case "serve":
            serve(words[0], int(words[1]), int(words[2]))
        case "watch":
            watch(words[0], int(words[1]))
        case _:
            ask()


if __name__ == "__main__":
    main(*sys.argv[1:])
