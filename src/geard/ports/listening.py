"""Who listens on a port of this host, beside gears. Standard library only: start hooks ask this too."""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

_LISTEN = "0A"  # TCP_LISTEN, proc(5) /proc/net/tcp


def in_use(port: int, protocol: str, address: str = "") -> bool:
    """Whether a process of this host holds the port on that address; without one, on any, IPv4 or IPv6.

    Raises OSError (EADDRNOTAVAIL) for an address that this host does not have.
    """
    places = ((_family(address), address),) if address else ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
    for family, place in places:
        try:
            _bind(family, place, port, protocol)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            if address or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
    return False


def _bind(family: socket.AddressFamily, address: str, port: int, protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # Connections of the past (TIME_WAIT) do not hold a port; a listener still does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))


def taken(id: str, run: str) -> str:
    """What to say where another program has one of the ports that a gear's definition, the file `run`, publishes;
    else empty. Raises OSError where that cannot be read.
    """
    with open(run, encoding="utf-8") as file:
        facts = json.loads(file.readline().removeprefix("# geard: "))
    for pair in facts.get("Ports", []):
        number, protocol, address = pair["External"], pair["Protocol"], pair.get("Address", "")
        try:
            if not in_use(number, protocol, address):
                continue
        except OSError as error:
            return f"its ports cannot be had: {error.strerror}" if error.errno == errno.EADDRNOTAVAIL else ""
        holder = who_holds(number, protocol, address) or "another program"
        other = f"{pair['Internal']}:NUMBER" + ("/udp" if protocol == "udp" else "")
        return (
            f"port {number}/{protocol} of this host is taken: {holder} listens on it;"
            f" end that program, or take another port: gear port {id} {other}"
        )
    return ""


def who_holds(port: int, protocol: str, address: str = "") -> str:
    """The process that is in the way, `nginx (process 77)`; empty where /proc does not tell."""
    sockets = {f"socket:[{inode}]" for inode in _sockets(port, protocol, address)}
    for pid in filter(str.isdigit, os.listdir("/proc") if sockets else ()):
        with suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{fd}") in sockets:
                        return f"{_name(pid)} (process {pid})"
    return ""


def _sockets(port: int, protocol: str, address: str) -> set[str]:
    """The inodes of sockets bound to the port where it matters to `address`: on it, or on all."""
    found: set[str] = set()
    for family in ("", "6"):
        with suppress(OSError), open(f"/proc/net/{protocol}{family}", encoding="ascii") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                place, _, number = fields[1].partition(":")
                if int(number, 16) != port or (protocol == "tcp" and fields[3] != _LISTEN):
                    continue
                there = _address(place)
                if not address or there.is_unspecified or there == ip_address(address):
                    found.add(fields[9])
    return found - {"0"}


def _address(text: str) -> IPv4Address | IPv6Address:
    """proc(5): hexadecimal, in 32-bit words of this machine's byte order."""
    raw = b"".join(socket.ntohl(int(text[at : at + 8], 16)).to_bytes(4, "big") for at in range(0, len(text), 8))
    return ip_address(raw)


def _name(pid: str) -> str:
    """The program's own word for itself, so nothing that would act on a terminal."""
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return "".join(c if c.isprintable() else "?" for c in file.read().rstrip("\n"))


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
