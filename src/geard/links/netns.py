"""The network namespace of a gear that runs, entered by a thread that ends there (setns(2) is each thread's own):
rules, sockets, and the connections that were led elsewhere (ctnetlink, sock_diag(7)). Standard library only.

libnftables(3) in the process takes 2 ms where nsenter and nft take 16; Python has os.setns from 3.12 on.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
LOCALNET = "/proc/sys/net/ipv4/conf/all/route_localnet"
_libc = ctypes.CDLL(None, use_errno=True)
_loading = threading.Lock()  # libnftables keeps state of its own beside the context


def inside(where: int | str, deed: Callable[[], T]) -> T:
    """What `deed` gives, run in the network namespace of a process or a path; sockets it makes stay there.

    Raises OSError where that has gone, and what `deed` raises.
    """
    path = where if isinstance(where, str) else f"/proc/{where}/ns/net"
    result: list[T] = []
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(fd, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            finally:
                os.close(fd)
            result.append(deed())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            failed.append(error)

    thread = threading.Thread(target=enter, name=f"netns {where}")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return result[0]


def load(rules: str) -> None:
    """In the thread's own namespace, one transaction. Raises OSError with libnftables' words."""
    _loading.acquire()
    try:
        nft = _libnftables()
        context = nft.nft_ctx_new(0)
        nft.nft_ctx_buffer_error(context)
        failed = nft.nft_run_cmd_from_buffer(context, rules.encode())
        said = (nft.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace").strip()
    except BaseException:
        _loading.release()
        raise

    def free() -> None:
        nft.nft_ctx_free(context)
        _loading.release()

    # Closing its socket waits until the kernel has disposed of the old rules (7 to 20 ms); nobody else need.
    threading.Thread(target=free, name="nft", daemon=True).start()
    if failed:
        raise OSError(f"the kernel does not take the rules: {said.splitlines()[0] if said else 'no reason'}")


def lead_loopback() -> None:
    """Let packets for 127.0.0.0/8 leave by another interface (ip-sysctl, route_localnet)."""
    with open(LOCALNET, "w", encoding="ascii") as setting:
        setting.write("1")


_loaded: list[Any] = []


def _libnftables() -> Any:
    if not _loaded:
        nft = ctypes.CDLL("libnftables.so.1")
        nft.nft_ctx_new.restype = ctypes.c_void_p
        nft.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        for call in (nft.nft_ctx_buffer_error, nft.nft_ctx_get_error_buffer, nft.nft_ctx_free):
            call.argtypes = [ctypes.c_void_p]
        nft.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        _loaded.append(nft)
    return _loaded[0]


class Connection(NamedTuple):
    """One that connection tracking knows, and that is led elsewhere than its program thinks."""

    protocol: str
    source: tuple[str, int]
    place: tuple[str, int]
    """where the program connected to"""
    target: tuple[str, int]
    """where it was led"""
    tuple_: bytes
    """as the kernel names it"""


_NETFILTER, _SOCK_DIAG = 12, 4  # netlink(7)
_HEAD = struct.Struct("=IHHII")
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_CT_GET, _CT_DELETE = 0x101, 0x102
_SOCK_DESTROY = 21
_ERROR, _DONE = 2, 3
_ESTABLISHED = 3  # TCP_CONNTRACK_ESTABLISHED
_PROTOCOLS = {6: "tcp", 17: "udp"}


def led_connections() -> list[Connection]:
    """Those of this namespace that a link has led, of TCP and UDP over IPv4. (Docker's own 127.0.0.11 is none.)"""
    with _netlink(_NETFILTER) as line:
        line.send(_HEAD.pack(20, _CT_GET, _REQUEST | _DUMP, 1, 0) + struct.pack("=BBH", socket.AF_INET, 0, 0))
        return [found for body in _answers(line) if (found := _connection(body)) is not None]


def _connection(body: bytes) -> Connection | None:
    facts = dict(_attributes(body[4:]))
    if 1 not in facts or 2 not in facts:
        return None
    first, answer = _ends(facts[1]), _ends(facts[2])
    if first is None or answer is None or first[2] == answer[1] or answer[1][0].startswith("127."):
        return None
    if first[0] == "tcp" and not _is_established(facts.get(4, b"")):
        return None
    return Connection(first[0], first[1], first[2], answer[1], facts[1])


def _is_established(raw: bytes) -> bool:
    """CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE: it has begun and nobody has ended it."""
    return dict(_attributes(dict(_attributes(raw)).get(1, b""))).get(1, b"\0")[0] == _ESTABLISHED


Ends = tuple[str, tuple[str, int], tuple[str, int]]


def _ends(raw: bytes) -> Ends | None:
    """Protocol, source and destination of a tuple (CTA_TUPLE_IP, CTA_TUPLE_PROTO)."""
    parts = dict(_attributes(raw))
    address, numbers = dict(_attributes(parts.get(1, b""))), dict(_attributes(parts.get(2, b"")))
    protocol = _PROTOCOLS.get(numbers.get(1, b"\0")[0])
    if protocol is None or not {1, 2} <= address.keys() or not {2, 3} <= numbers.keys():
        return None
    hosts = [socket.inet_ntoa(address[n]) for n in (1, 2)]
    ports = [int.from_bytes(numbers[n], "big") for n in (2, 3)]
    return protocol, (hosts[0], ports[0]), (hosts[1], ports[1])


def cut(connection: Connection) -> None:
    """End a connection: its socket fails (ECONNABORTED), or where the kernel cannot do that, its next packet is
    answered by a reset. Of UDP, what is sent next goes the new way. One that has ended meanwhile is fine.
    """
    with _netlink(_NETFILTER) as line:
        named = struct.pack("=HH", 4 + len(connection.tuple_), 0x8000 | 1) + connection.tuple_
        _ask(line, _CT_DELETE, struct.pack("=BBH", socket.AF_INET, 0, 0) + named)
    if connection.protocol == "tcp":
        ends = [socket.inet_aton(host).ljust(16, b"\0") for host, _ in (connection.source, connection.place)]
        ports = struct.pack(">HH", connection.source[1], connection.place[1])
        which = ports + ends[0] + ends[1] + struct.pack("=I", 0) + b"\xff" * 8
        with _netlink(_SOCK_DIAG) as line:
            _ask(
                line,
                _SOCK_DESTROY,
                struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + which,
            )


def _ask(line: socket.socket, kind: int, body: bytes) -> None:
    line.send(_HEAD.pack(16 + len(body), kind, _REQUEST | _ACK, 1, 0) + body)
    line.recv(65_536)


def _netlink(family: int) -> socket.socket:
    line = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
    line.bind((0, 0))
    line.settimeout(2)
    return line


def _answers(line: socket.socket) -> Iterator[bytes]:
    while True:
        data = line.recv(1 << 18)
        while len(data) >= 16:
            length, kind, _, _, _ = _HEAD.unpack_from(data)
            if kind in (_DONE, _ERROR) or length < 16:
                return
            yield data[16:length]
            data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of each (netlink(7), nested ones without their flag)."""
    while len(data) >= 4:
        length, number = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield number & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
