"""The door for other machines: TLS 1.3 where `[agent] listen` says, and nowhere unless it does.

It keeps to the settings and to the machine's addresses as they change; its certificate is renewed by itself. A
handshake is a task of its own with little time, so many from one place and so many in all: a slow one holds up
nobody. cryptography and the authority are loaded when there is something to listen on.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence

from geard.daemon.audit import Audit
from geard.daemon.doors import source_of
from geard.failures import Failure
from geard.host import Host
from geard.host.addresses import addresses
from geard.trust.listening import Names, names_of, server_file, wanted
from geard.trust.settings import AgentSettings

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
HANDSHAKE_SECONDS = 10.0
HANDSHAKES = 256
HANDSHAKES_EACH = 32
BACKLOG = 1024
CERTIFICATE_SECONDS = 3_600.0
_PAUSE_SECONDS = 0.2

Where = tuple[str, int]


class TlsDoor:
    """`protocols` makes what speaks HTTP when a handshake is over; `further` are words as in `listen`."""

    def __init__(
        self, host: Host, protocols: Callable[[], asyncio.Protocol], audit: Audit, further: Sequence[str] = ()
    ) -> None:
        self._host = host
        self._audit = audit
        self._protocols = protocols
        self._further = tuple(further)
        self._context: ssl.SSLContext | None = None
        self._names: Names = ()
        self._looked_at = 0.0
        self._open: dict[Where, asyncio.Task[None]] = {}
        self._greeting: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._complaints: dict[str, str] = {}

    async def keep(self) -> None:
        """For ever: be open where it is to be."""
        try:
            while True:
                try:
                    await self._look()
                    self._complain("settings", "")
                except (Failure, OSError, ssl.SSLError) as error:
                    self._complain("settings", f"the door for other machines stays as it is: {error}")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in (*self._open.values(), *self._tasks):
                task.cancel()

    async def _look(self) -> None:
        settings = self._host.settings.section(AgentSettings)
        listen = (*self._further, *settings.listen)
        places = wanted(listen, addresses()) if listen else []
        for where in [where for where in self._open if where not in places]:
            self._open.pop(where).cancel()
            log.info("no longer listening for other machines at %s:%d", *where)
        if not places:
            return
        names = names_of(settings, listen, addresses())
        now = asyncio.get_running_loop().time()
        if self._context is None or names != self._names or now - self._looked_at > CERTIFICATE_SECONDS:
            path, authority = await asyncio.to_thread(server_file, self._host.paths, names)
            self._context = server_context(str(path), authority)
            self._names, self._looked_at = names, now
        for where in places:
            if where not in self._open and (listener := self._bound(where)) is not None:
                self._open[where] = asyncio.create_task(self._accept(listener), name=f"TLS {where}")
                log.info("listening for other machines at %s:%d", *where)

    def _bound(self, where: Where) -> socket.socket | None:
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        try:
            listener = socket.create_server(where, family=family, backlog=BACKLOG)
        except OSError as error:  # an address that comes later, or somebody else's port: tried again
            why = "" if error.errno == errno.EADDRNOTAVAIL else " (which program? ss -ltnp)"
            self._complain(str(where), f"cannot listen at {where[0]}:{where[1]}: {error.strerror}{why}")
            return None
        self._complain(str(where), "")
        listener.setblocking(False)
        return listener

    def _complain(self, about: str, what: str) -> None:
        """Once for each trouble, not every few seconds."""
        if self._complaints.get(about, "") != what:
            self._complaints[about] = what
            if what:
                log.error("%s", what)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    connection, address = await loop.sock_accept(listener)
                except OSError as error:  # no descriptors, or it was gone at once
                    log.debug("TLS: %s", error)
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                source = source_of(address[0])
                if self._greeting[source] >= HANDSHAKES_EACH or self._greeting.total() >= HANDSHAKES:
                    connection.close()
                    continue
                self._greeting[source] += 1
                task = asyncio.create_task(self._greet(connection, source))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _greet(self, connection: socket.socket, source: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocols,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=HANDSHAKE_SECONDS,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is one
            self._told_of(source, error)
        finally:
            self._greeting[source] -= 1
            if self._greeting[source] <= 0:
                del self._greeting[source]

    def _told_of(self, source: str, error: Exception) -> None:
        why = getattr(error, "reason", "") or getattr(error, "strerror", "") or type(error).__name__
        self._audit.refused(f"TLS from {source}", "handshake", str(why))


def server_context(bundle: str, authority: str) -> ssl.SSLContext:
    """Who shows a certificate must show one of `authority` (PEM), for clients, that has not expired; who shows
    none comes in too, and needs a token. No session is resumed: each connection shows its certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(bundle)
    context.load_verify_locations(cadata=authority)
    return context
