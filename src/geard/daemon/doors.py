"""Who is at the other end of a connection, settled when it is accepted and before a byte of it is read.

Three doors: the unix socket, where the kernel tells user and groups of the peer (unix(7), SO_PEERCRED), for
root and group `geard`; loopback TCP, where it tells who made the socket at the other end (`loopback`), for
root; TLS, where a certificate of the agent's own authority tells. Members of group `geard` may do everything: that
is root, as docs/SECURITY.md says. Whoever is refused here may still show a token with each request (`admission`).
"""

from __future__ import annotations

import array
import contextlib
import grp
import ipaddress
import logging
import os
import pwd
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from geard.daemon.cgroups import Cgroups
from geard.daemon.loopback import PeerLookup, probe
from geard.failures import Denied, Failure, Unauthenticated
from geard.request import SCOPES, Asker
from geard.trust.bearers import fingerprint
from geard.trust.grants import Grants

log = logging.getLogger(__name__)

GROUP = "geard"
EVERYTHING = SCOPES["admin"]

_CREDENTIALS = struct.Struct("=iII")  # ucred: pid, uid, gid
_SO_PEERGROUPS = 59
_GROUP_HINT = f"sudo gear …, or as root: adduser USER {GROUP}, then log in anew"
_HINT = f"use sudo, the agent's unix socket as a member of group {GROUP}, or a token: gear token create"


@dataclass(frozen=True)
class Caller:
    """Who has connected, as far as the connection itself tells."""

    door: str
    """its name for the journal"""
    asker: Asker | Failure
    source: str = ""
    """whose failures are counted together; empty: nobody's (the unix socket's mode says who may try)"""
    again: Callable[[], Asker] | None = None
    """for a certificate: whether it still holds. Raises Unauthenticated"""


class Doors:
    """Tells the asker at the other end of an accepted socket. For one thread (one event loop)."""

    def __init__(self, group: str = GROUP, grants: Grants | None = None) -> None:
        self.group = group_id(group)
        self._grants = grants
        self._lookup = PeerLookup()
        self._cgroups: Cgroups | None = None
        self._loopback_open = False

    def open_loopback(self) -> None:
        """Let loopback in, if the kernel can tell who is there. Raises OSError where it cannot."""
        probe(self._lookup)
        try:
            self._cgroups = Cgroups()
        except OSError as error:
            log.info("sockets made in containers are not told apart on loopback: %s", error)
        self._loopback_open = True

    def close(self) -> None:
        self._lookup.close()
        if self._cgroups is not None:
            self._cgroups.close()

    def caller(self, connection: Any, tls: ssl.SSLObject | None = None) -> Caller:
        """Who has come in by `connection` (a socket, or asyncio's view of one); a refusal is told when the request
        has come.
        """
        if tls is not None:
            return self._from_afar(connection, tls)
        if connection.family == socket.AF_UNIX:
            return Caller("unix socket", _outcome(lambda: self.asker(connection)))
        uid: list[int] = []
        asker = _outcome(lambda: self.asker(connection, uid.append))
        return Caller("loopback", asker, f"uid {uid[0]}" if uid else "loopback")

    def asker(self, connection: Any, tell: Callable[[int], None] = lambda uid: None) -> Asker:
        """Who asks through a connection from this machine, by the kernel's word; of loopback `tell` hears the uid.

        Raises Unauthenticated where that cannot be told, Denied where it is nobody who may.
        """
        try:
            if connection.family == socket.AF_UNIX:
                return self._local(connection)
            return self._loopback(connection, tell)
        except OSError:  # it was closed meanwhile
            raise Unauthenticated("cannot tell who is at the other end of this connection", hint=_HINT) from None

    def _from_afar(self, connection: Any, tls: ssl.SSLObject) -> Caller:
        """The handshake has let in nobody with a certificate of another authority's, or one that has expired."""
        try:
            source = source_of(connection.getpeername()[0])
        except OSError:
            return Caller("TLS", Unauthenticated("the connection was closed"))
        door, der = f"TLS from {source}", tls.getpeercert(True)
        if not der or self._grants is None:
            return Caller(door, _no_proof(), source)
        grants, name, proof = self._grants, common_name(tls.getpeercert()), fingerprint(der)

        def again() -> Asker:
            return grants.certificate(name, proof)

        return Caller(door, _outcome(again), source, again)

    def _local(self, connection: Any) -> Asker:
        _, uid, gid = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid != 0 and (self.group is None or self.group not in _groups(connection, uid, gid)):
            raise Denied(f"{user(uid)} may not use this agent", hint=_GROUP_HINT)
        return Asker(user(uid), EVERYTHING, uid)

    def _loopback(self, connection: Any, tell: Callable[[int], None]) -> Asker:
        if not self._loopback_open or not _from_here(connection):
            raise Denied("this agent takes no connections from there", hint=_HINT)
        try:
            found = self._lookup.owner(connection)
        except OSError as error:
            log.error("loopback: cannot look up who is there: %s", error)
            found = None
        if found is None:
            raise Unauthenticated("cannot tell who is at the other end of this connection", hint=_HINT)
        tell(found.uid)
        if found.uid != 0:
            raise Denied(f"{user(found.uid)} may not use this agent over TCP", hint=_HINT)
        if self._cgroups is not None and found.cgroup and self._cgroups.in_container(found.cgroup):
            raise Denied("root of a container may not use this agent", hint=_HINT)
        return Asker(user(0), EVERYTHING, 0)


def _outcome(look: Callable[[], Asker]) -> Asker | Failure:
    try:
        return look()
    except Failure as failure:
        return failure


def _no_proof() -> Failure:
    return Unauthenticated(
        "this door takes a certificate of the agent's own authority, or a token",
        hint="as root on that machine: gear host invite NAME, or gear token create NAME",
    )


def source_of(address: str) -> str:
    """Whose failures count together: one IPv4 address; of IPv6 the /64, which is one site's (RFC 6177)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)


def common_name(certificate: Any) -> str:
    """The name in a certificate that was verified, as `ssl` shows it."""
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate["subject"] if certificate else ()
    return next((value for part in subject for key, value in part if key == "commonName"), "-")


def group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


@lru_cache(1024)
def user(uid: int) -> str:
    """`uid 1000 (alice)`. Remembered: the user database may be on a network."""
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"


def _groups(connection: Any, uid: int, gid: int) -> set[int]:
    """The peer's groups when it connected, against which the socket's own permissions were checked."""
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024))
    except OSError:  # more than 256 of them: Python's getsockopt takes no larger buffer
        with contextlib.suppress(KeyError):
            groups.extend(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    return {gid, *groups}


def _from_here(connection: Any) -> bool:
    host = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
    mapped = getattr(host, "ipv4_mapped", None)
    return (mapped or host).is_loopback
