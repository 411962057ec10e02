"""Whose socket is at the other end of a loopback TCP connection, by the kernel's own word (sock_diag(7)).

What is told is the uid that *made* the connecting socket, which is no proof of what its owner meant: whatever
that uid can be brought to connect to counts. The daemon's other checks (Host, Origin) are there for that.

Three things make the answer trustworthy; each has an attack in tests/daemon/test_loopback.py:
- the question names the exact four-tuple, and the answer must be about it;
- the other end is ESTABLISHED and has an inode. Of a closed or orphaned socket the kernel says "uid 0";
- **our own end is ESTABLISHED still, after the look-up.** Then the peer's address was never free in between,
  so nobody else's socket can have been found in its place.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from dataclasses import dataclass
from typing import Protocol

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ENOENT = 2
_ESTABLISHED = 1
_INET_DIAG_CGROUP_ID = 21

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port id
_QUESTION = struct.Struct("=BBBBI")  # inet_diag_req_v2: family, protocol, extensions, padding, states
_ENDS = struct.Struct("!HH16s16s")  # inet_diag_sockid: both ports, both addresses, in network order …
_REST = struct.Struct("=I8s")  # … then the interface and the cookie (all ones: any)
_ANSWER = struct.Struct("=BBBB")  # inet_diag_msg: family, state, timer, retransmissions; then the ends, then
_OWNER = struct.Struct("=IIIII")  # expires, receive queue, send queue, uid, inode
_ATTRIBUTE = struct.Struct("=HH")

_ENDS_AT = _HEADER.size + _ANSWER.size
_OWNER_AT = _ENDS_AT + _ENDS.size + _REST.size
_ATTRIBUTES_AT = _OWNER_AT + _OWNER.size


class Connection(Protocol):
    """What is needed of an accepted socket; asyncio's TransportSocket has it too."""

    @property
    def family(self) -> int: ...
    def getsockname(self) -> tuple[str, int]: ...
    def getpeername(self) -> tuple[str, int]: ...
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


@dataclass(frozen=True)
class Found:
    """Who made a socket, and the id of the cgroup it was made in; 0 where the kernel does not say."""

    uid: int
    cgroup: int = 0


@dataclass(frozen=True)
class _Tuple:
    """A connection as its far end sees it."""

    family: int
    far: tuple[str, int]
    near: tuple[str, int]

    def packed(self) -> bytes:
        def address(text: str) -> bytes:
            return socket.inet_pton(self.family, text)

        return _ENDS.pack(self.far[1], self.near[1], address(self.far[0]), address(self.near[0]))


class PeerLookup:
    """Asks the kernel who made a socket: about 15 µs, however many sockets there are. For one thread."""

    def __init__(self) -> None:
        self._netlink: socket.socket | None = None
        self._sequence = 0

    def owner(self, connection: Connection) -> Found | None:
        """Who made the other end of an accepted connection; None: nobody who could be trusted to be that.

        Raises OSError where the kernel cannot be asked.
        """
        try:
            ends = _loopback_tuple(connection)
        except OSError:  # gone already
            return None
        found = self._ask(ends) if ends else None
        if found is None or not _established(connection):
            return None
        return found

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def _ask(self, ends: _Tuple) -> Found | None:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        question = (
            _QUESTION.pack(ends.family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
            + ends.packed()
            + _REST.pack(0, b"\xff" * 8)
        )
        header = _HEADER.pack(
            _HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, self._sequence, 0
        )
        try:
            netlink = self._open()
            netlink.send(header + question)
            return parse_answer(netlink.recv(8192), self._sequence, ends.packed())
        except OSError:
            self.close()  # a late answer must not be taken for the next one's
            raise

    def _open(self) -> socket.socket:
        if self._netlink is None:
            self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
            self._netlink.settimeout(1)
            self._netlink.bind((0, 0))
        return self._netlink


def parse_answer(message: bytes, sequence: int, ends: bytes) -> Found | None:
    """The owner in the kernel's answer about the socket with exactly these `ends`.

    None where there is no such socket or it is not an established one with an owner. Raises OSError for an
    answer to something else or an error.
    """
    try:
        length, kind, _, answered, _ = _HEADER.unpack_from(message)
        if answered != sequence:
            raise OSError("sock_diag answered another question")
        if kind == _NLMSG_ERROR:
            error = -struct.unpack_from("=i", message, _HEADER.size)[0]
            if error == _ENOENT:
                return None
            raise OSError(error, os.strerror(error))
        if kind != _SOCK_DIAG_BY_FAMILY:
            raise OSError(f"sock_diag answered with a message of kind {kind}")
        _, state, _, _ = _ANSWER.unpack_from(message, _HEADER.size)
        *_, uid, inode = _OWNER.unpack_from(message, _OWNER_AT)
        if message[_ENDS_AT : _ENDS_AT + _ENDS.size] != ends or state != _ESTABLISHED or inode == 0:
            return None
        return Found(uid, _cgroup(message[_ATTRIBUTES_AT:length]))
    except struct.error as error:
        raise OSError(f"sock_diag answered with something cut short: {error}") from None


def _cgroup(attributes: bytes) -> int:
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, at)
        if kind == _INET_DIAG_CGROUP_ID:
            (found,) = struct.unpack_from("=Q", attributes, at + _ATTRIBUTE.size)
            return int(found)
        at += max((length + 3) & ~3, _ATTRIBUTE.size)
    return 0


def _loopback_tuple(connection: Connection) -> _Tuple | None:
    near, far = connection.getsockname(), connection.getpeername()
    family, near_host, far_host = connection.family, near[0], far[0]
    if family == socket.AF_INET6 and near_host.startswith("::ffff:") and far_host.startswith("::ffff:"):
        # an IPv4 client of a dual-stack listener: the kernel files its socket under IPv4
        family, near_host, far_host = socket.AF_INET, near_host[7:], far_host[7:]
    if not (ipaddress.ip_address(near_host).is_loopback and ipaddress.ip_address(far_host).is_loopback):
        return None
    return _Tuple(family, (far_host, far[1]), (near_host, near[1]))


def _established(connection: Connection) -> bool:
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
    except OSError:
        return False


def probe(lookup: PeerLookup) -> None:
    """Look up a connection of our own. Raises OSError where the answer is not "this uid": see `doors`."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            found = lookup.owner(accepted)
    if found is None or found.uid != os.geteuid():
        raise OSError(f"sock_diag does not know this process's own connection (it says {found})")
