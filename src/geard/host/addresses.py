"""This machine's addresses, by rtnetlink(7): one question, answered at once."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_HEAD = struct.Struct("=IHHII")  # nlmsghdr
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")
_GET, _NEW, _DONE, _ERROR = 22, 20, 3, 2  # RTM_GETADDR, RTM_NEWADDR, NLMSG_DONE, NLMSG_ERROR
_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_UNIVERSE = 0  # RT_SCOPE_UNIVERSE: neither of the link nor of the host alone


@dataclass(frozen=True)
class Address:
    text: str
    interface: str


def addresses() -> list[Address]:
    """Those that other machines may reach, in the kernel's order: not loopback's, none of a link alone.

    Raises OSError.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as line:
        line.settimeout(5)
        question = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        line.send(_HEAD.pack(_HEAD.size + len(question), _GET, _REQUEST_DUMP, 1, 0) + question)
        found: list[Address] = []
        while True:
            for kind, body in _messages(line.recv(1 << 16)):
                if kind in (_DONE, _ERROR):
                    return found
                if kind == _NEW and (address := _parse(body)) is not None:
                    found.append(address)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(data):
        length, kind, *_ = _HEAD.unpack_from(data, at)
        if length < _HEAD.size:
            return
        yield kind, data[at + _HEAD.size : at + length]
        at += (length + 3) & ~3


def _parse(body: bytes) -> Address | None:
    family, _, _, scope, index = _ADDRESS.unpack_from(body)
    if scope != _UNIVERSE or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    raw, at = b"", _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        if kind == _IFA_LOCAL or (kind == _IFA_ADDRESS and not raw):
            raw = body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    interface = ""
    with suppress(OSError):  # it went meanwhile
        interface = socket.if_indextoname(index)
    return Address(str(ipaddress.ip_address(raw)), interface) if raw else None
