"""Who is at the other end of a connection, settled when it is accepted and before a byte of it is read.

Two doors: the unix socket, where the kernel tells user and groups of the peer (unix(7), SO_PEERCRED), for
root and group `geard`; loopback TCP, where it tells who made the socket at the other end (`loopback`), for
root. Members of group `geard` may do everything: that is root, as docs/SECURITY.md says. No other address gets in.
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
import struct
from functools import lru_cache
from typing import Any

from geard.daemon.cgroups import Cgroups
from geard.daemon.loopback import PeerLookup, probe
from geard.failures import Denied, Failure, Unauthenticated
from geard.request import Asker, Scope

log = logging.getLogger(__name__)

GROUP = "geard"
EVERYTHING: frozenset[Scope] = frozenset(("read", "operate", "admin"))

_CREDENTIALS = struct.Struct("=iII")  # ucred: pid, uid, gid
_SO_PEERGROUPS = 59
_GROUP_HINT = f"sudo gear …, or as root: adduser USER {GROUP}, then log in anew"
_HINT = f"use sudo, or the agent's unix socket as a member of group {GROUP}"


class Doors:
    """Tells the asker at the other end of an accepted socket. For one thread (one event loop)."""

    def __init__(self, group: str = GROUP) -> None:
        self.group = group_id(group)
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

    def asker(self, connection: Any) -> Asker:
        """Who asks through `connection` (a socket, or asyncio's view of one).

        Raises Unauthenticated where that cannot be told, Denied where it is nobody who may.
        """
        try:
            if connection.family == socket.AF_UNIX:
                return self._local(connection)
            return self._loopback(connection)
        except OSError:  # it was closed meanwhile
            raise Unauthenticated("cannot tell who is at the other end of this connection", hint=_HINT) from None

    def _local(self, connection: Any) -> Asker:
        _, uid, gid = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid != 0 and (self.group is None or self.group not in _groups(connection, uid, gid)):
            raise Denied(f"{user(uid)} may not use this agent", hint=_GROUP_HINT)
        return Asker(user(uid), EVERYTHING, uid)

    def _loopback(self, connection: Any) -> Asker:
        if not self._loopback_open or not _from_here(connection):
            raise Denied("this agent takes no connections from there", hint=_HINT)
        try:
            found = self._lookup.owner(connection)
        except OSError as error:
            log.error("loopback: cannot look up who is there: %s", error)
            found = None
        if found is None:
            raise Unauthenticated("cannot tell who is at the other end of this connection", hint=_HINT)
        if found.uid != 0:
            raise Denied(f"{user(found.uid)} may not use this agent over TCP", hint=_HINT)
        if self._cgroups is not None and found.cgroup and self._cgroups.in_container(found.cgroup):
            raise Denied("root of a container may not use this agent", hint=_HINT)
        return Asker(user(0), EVERYTHING, 0)


def door_of(connection: Any) -> str:
    """The door's name for the journal."""
    return "unix socket" if connection.family == socket.AF_UNIX else "loopback"


def verdict(doors: Doors, connection: Any) -> Asker | Failure:
    """As `Doors.asker`, its refusal as a value: it is told when the request has come."""
    try:
        return doors.asker(connection)
    except Failure as failure:
        return failure


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
