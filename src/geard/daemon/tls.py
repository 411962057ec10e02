"""The door for other machines: TLS 1.3 where `[agent] listen` says, and nowhere unless it does.

It keeps to the settings and to the machine's addresses as they change; its certificate is renewed by itself. A
handshake is a task of its own with little time, so many from one place and so many in all: a slow one holds up
nobody. cryptography and the authority are loaded when there is something to listen on.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence

from geard.daemon.audit import Audit
from geard.daemon.doors import source_of
from geard.daemon.notify import Notifier
from geard.failures import Failure
from geard.host import Host
from geard.host.addresses import addresses
from geard.trust.listening import Names, names_of, server_file, wanted
from geard.trust.settings import AgentSettings

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
HANDSHAKE_SECONDS = 10.0
SEE_IN_SECONDS = 3.0
HANDSHAKES = 256
HANDSHAKES_EACH = 32
BACKLOG = 1024
STORED = "tls-"
"""how the names begin of listeners that systemd keeps"""
CERTIFICATE_SECONDS = 3_600.0
AT_ONCE = 64
_PAUSE_SECONDS = 0.2

Where = tuple[str, int]


class TlsDoor:
    """`protocols` makes what speaks HTTP when a handshake is over; `further` are words as in `listen`."""

    def __init__(
        self,
        host: Host,
        protocols: Callable[[], asyncio.Protocol],
        audit: Audit,
        further: Sequence[str] = (),
        notifier: Notifier | None = None,
    ) -> None:
        self._host = host
        self._notifier = notifier
        self._stored: dict[Where, socket.socket] = {}
        self._audit = audit
        self._protocols = protocols
        self._further = tuple(further)
        self._context: ssl.SSLContext | None = None
        self._names: Names = ()
        self._looked_at = 0.0
        self._open: dict[Where, socket.socket] = {}
        self._greeting: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._complaints: dict[str, str] = {}

    def takes(self, listener: socket.socket) -> bool:
        """Whether `listener`, which systemd handed over, is one that an earlier agent had it keep."""
        if listener.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        address, port = listener.getsockname()[:2]
        if ipaddress.ip_address(address).is_loopback:
            return False
        listener.setblocking(False)
        self._stored[address, port] = listener
        return True

    async def keep(self) -> None:
        """For ever: be open where it is to be."""
        try:
            while True:
                try:
                    await self._look()
                    self._complain("settings", "")
                except (Failure, OSError, ssl.SSLError) as error:
                    self._complain("settings", f"the door for other machines stays as it is: {error}")
                except Exception:
                    log.exception("the door for other machines met a bug")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for where in list(self._open):
                self._shut(where)
            for listener in self._stored.values():
                listener.close()

    async def see_in(self) -> None:
        """Let those who have connected come in, or so many seconds pass. To be called when `keep` has ended: who
        connects from then on waits for the next agent.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SEE_IN_SECONDS)
        for task in self._tasks:
            task.cancel()

    async def _look(self) -> None:
        settings = self._host.settings.section(AgentSettings)
        listen = (*self._further, *settings.listen)
        known = await asyncio.to_thread(addresses) if listen else []
        places = wanted(listen, known)
        for where in [where for where in self._open if where not in places]:
            self._shut(where)
            self._tell_systemd(f"FDSTOREREMOVE=1\nFDNAME={_stored_name(where)}")
            log.info("no longer listening for other machines at %s:%d", *where)
        for where in [where for where in self._stored if where not in places]:
            self._stored.pop(where).close()
            self._tell_systemd(f"FDSTOREREMOVE=1\nFDNAME={_stored_name(where)}")
        if not places:
            return
        names = names_of(settings, listen, known)
        now = asyncio.get_running_loop().time()
        if self._context is None or names != self._names or now - self._looked_at > CERTIFICATE_SECONDS:
            path, authority = await asyncio.to_thread(server_file, self._host.paths, names)
            self._context = server_context(str(path), authority)
            self._names, self._looked_at = names, now
        for where in places:
            if where not in self._open and (listener := self._bound(where)) is not None:
                self._open[where] = listener
                self._go_on(listener)
                log.info("listening for other machines at %s:%d", *where)

    def _bound(self, where: Where) -> socket.socket | None:
        """A listener that systemd keeps over a restart: who connects meanwhile waits, and is not refused."""
        if (stored := self._stored.pop(where, None)) is not None:
            return stored
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        try:
            listener = socket.create_server(where, family=family, backlog=BACKLOG)
        except OSError as error:  # an address that comes later, or somebody else's port: tried again
            why = "" if error.errno == errno.EADDRNOTAVAIL else " (which program? ss -ltnp)"
            self._complain(str(where), f"cannot listen at {where[0]}:{where[1]}: {error.strerror}{why}")
            return None
        self._complain(str(where), "")
        listener.setblocking(False)
        self._tell_systemd(f"FDSTORE=1\nFDNAME={_stored_name(where)}", listener.fileno())
        return listener

    def _tell_systemd(self, state: str, *fds: int) -> None:
        if self._notifier is not None:
            self._notifier.say(state, *fds)

    def _complain(self, about: str, what: str) -> None:
        """Once for each trouble, not every few seconds."""
        if self._complaints.get(about, "") != what:
            self._complaints[about] = what
            if what:
                log.error("%s", what)

    def _accept(self, listener: socket.socket) -> None:
        """Called when somebody has connected."""
        loop = asyncio.get_running_loop()
        for _ in range(AT_ONCE):
            try:
                connection, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors: those who wait are let in when there are some
                log.warning("cannot let in who has connected by TLS: %s", error.strerror)
                loop.remove_reader(listener)
                loop.call_later(_PAUSE_SECONDS, self._go_on, listener)
                return
            source = source_of(address[0])
            if self._greeting[source] >= HANDSHAKES_EACH or self._greeting.total() >= HANDSHAKES:
                connection.close()
                continue
            connection.setblocking(False)
            self._greeting[source] += 1
            task = asyncio.create_task(self._greet(connection, source))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _go_on(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _shut(self, where: Where) -> None:
        listener = self._open.pop(where)
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()

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


def _stored_name(where: Where) -> str:
    """No colon may stand in it (sd_notify(3), FDNAME)."""
    return f"{STORED}{where[0].replace(':', '_')}-{where[1]}"


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
