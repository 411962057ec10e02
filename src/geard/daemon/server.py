"""The agent as a process: its sockets, its start, its end.

Started by systemd it is handed its sockets (`geard.socket`, names `local` and `loopback`); by hand it binds
them itself. It keeps nothing that is not on disk or with systemd: stopping it stops no gear.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from aiohttp import web

from geard import __version__, catalog
from geard.daemon.admission import Admission, Visit
from geard.daemon.api import Api
from geard.daemon.audit import Audit
from geard.daemon.connections import Handler, Overflow, Strangers, bound
from geard.daemon.doors import GROUP, Doors, group_id
from geard.daemon.notify import Notifier
from geard.daemon.renewing import keep_renewed
from geard.daemon.tls import STORED, TlsDoor
from geard.daemon.ways import reach_peers
from geard.dispatch.dispatcher import Dispatcher
from geard.dispatch.operation import all_operations
from geard.failures import Failure, Unavailable
from geard.host import Host
from geard.identifiers import DEFAULT_PORT
from geard.transport.session import keep_watch
from geard.trust.grants import Grants

log = logging.getLogger(__name__)

SOCKET = Path("/run/geard/geard.sock")
DRAIN_SECONDS = 25.0
GOODBYE_SECONDS = 2.0
LINGER_SECONDS = 0.5
"""in which a connection that is in use asks its next question, and hears that it is to be closed"""
SERVICE_PAUSE_SECONDS = 5.0
EXPEL_SECONDS = 1.0
BACKLOG = 1024
_FIRST_FD = 3


@dataclass(frozen=True)
class Listen:
    """Where to listen when systemd hands over no sockets; a `port` of None: on the unix socket only."""

    socket: Path = SOCKET
    port: int | None = DEFAULT_PORT
    afar: tuple[str, ...] = ()
    """ADDRESS[:PORT] each: for other machines, by TLS, beside those of geard.toml, and whoever made the others"""


async def serve(host: Host, *, listen: Listen | None = None) -> None:
    """Be the agent until SIGTERM or SIGINT. Raises Unavailable where it cannot listen."""
    notifier = Notifier()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    sockets = inherited_sockets() or bound_sockets(listen or Listen())
    try:
        await run(host, sockets, stop, notifier, afar=listen.afar if listen is not None else ())
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)


async def run(
    host: Host,
    sockets: Sequence[socket.socket],
    stop: asyncio.Event,
    notifier: Notifier,
    *,
    afar: Sequence[str] = (),
) -> None:
    """Serve on `sockets`, which are closed in the end, until `stop`; and where `afar` and the settings say."""
    grants = Grants(host.paths)
    dispatcher, doors = Dispatcher(host, catalog.load()), Doors(grants=grants)
    with contextlib.ExitStack() as closing:
        closing.callback(doors.close)
        for each in sockets:
            closing.callback(each.close)
        reach_peers()
        audit = Audit()
        api = Api(dispatcher, all_operations(), Admission(grants), audit)
        reception = Reception(api, doors)
        tls = TlsDoor(host, reception, audit, afar, notifier)
        sockets = [each for each in sockets if not tls.takes(each)]
        listeners = [await _listen(reception, each) for each in _open_ones(sockets, doors)]
        async with asyncio.TaskGroup() as group:
            lasting = [group.create_task(notifier.beat(), name="watchdog")]
            lasting.append(group.create_task(reception.expel(), name="expelling"))
            afar_door = group.create_task(tls.keep(), name="TLS door")
            lasting.append(group.create_task(keep_renewed(), name="own certificates"))
            lasting += [
                group.create_task(_keep(service, host, dispatcher), name=service.__name__)
                for service in catalog.doors("services")
            ]
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 50, 1_000)
            notifier.say(f"READY=1\nSTATUS=geard {__version__}")
            await stop.wait()
            notifier.say("STOPPING=1")
            afar_door.cancel()
            await _shut(listeners)
            await tls.see_in()
            await _farewell(api, reception, dispatcher)
            for task in lasting:
                task.cancel()


async def _farewell(api: Api, reception: Reception, dispatcher: Dispatcher) -> None:
    """Let what is under way end; what takes longer is in systemd's hands, or resumed at the next start.

    Who has a connection and asks once more meanwhile is answered, and told that it was the last time: a connection
    that is closed just as a request comes in would lose that.
    """
    api.stopping.set()
    await reception.linger(LINGER_SECONDS)
    await dispatcher.stop(DRAIN_SECONDS)
    reception.pre_shutdown()
    await reception.shutdown(GOODBYE_SECONDS)


async def _shut(listeners: Sequence[asyncio.Server]) -> None:
    """Take no connections any more: who comes now waits for the next agent. Those that were taken already are
    made, for which asyncio wants the server to be open still.
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        for each in listener.sockets:
            loop.remove_reader(each.fileno())
    await asyncio.sleep(0.01)
    for listener in listeners:
        listener.close()


async def _keep(service: ModuleType, host: Host, dispatcher: Dispatcher) -> None:
    while True:
        try:
            await service.serve(host, dispatcher)
            return
        except Failure as failure:
            log.warning("%s: %s; trying again in %g s", service.__name__, failure, SERVICE_PAUSE_SECONDS)
        except Exception:
            log.exception("%s met a bug; starting it again in %g s", service.__name__, SERVICE_PAUSE_SECONDS)
        await asyncio.sleep(SERVICE_PAUSE_SECONDS)


class Reception(web.Server):
    """Sees who comes in before anything of theirs is read, and has each request know it."""

    def __init__(self, api: Api, doors: Doors) -> None:
        super().__init__(self._answer, request_factory=self._request, access_log=None)
        self._api = api
        self._doors = doors
        self._visits = dict[web.RequestHandler, Visit]()
        self._strangers = Strangers()
        self._bound = bound()

    def __call__(self) -> Any:
        """A protocol for a connection that has just been accepted."""
        if len(self._visits) - self._strangers.leaving >= self._bound:
            return Overflow()
        return Handler(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        connection = transport.get_extra_info("socket")
        caller = self._doors.caller(connection, transport.get_extra_info("ssl_object"))
        self._visits[handler] = visit = Visit(caller, abort=transport.abort)
        if isinstance(caller.asker, Failure):  # who shows a token is no stranger any more
            self._strangers.take(handler, transport)
            visit.welcome = lambda: self._strangers.forget(handler)
        super().connection_made(handler, transport)

    async def expel(self) -> None:
        """For ever: end connections whose token or certificate does not hold any more, whatever they are at."""
        while True:
            await asyncio.sleep(EXPEL_SECONDS)
            for visit in list(self._visits.values()):
                visit.expel()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._strangers.forget(handler)
        if visit := self._visits.pop(handler, None):
            visit.gone.set()
        super().connection_lost(handler, exc)

    async def linger(self, seconds: float) -> None:
        """Wait for so long, or until everybody has left."""
        end = time.monotonic() + seconds
        while self._visits and time.monotonic() < end:  # noqa: ASYNC110 - many may come and go
            await asyncio.sleep(0.01)

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        http = _VisitorsRequest(message, payload, protocol, writer, task, self._loop)
        http.visit = self._visits[protocol]
        return http

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(http, _VisitorsRequest)
        return await self._api.answer(http, http.visit)


class _VisitorsRequest(web.BaseRequest):
    ATTRS = web.BaseRequest.ATTRS | {"visit"}  # aiohttp's list of what may be set

    visit: Visit


def _open_ones(sockets: Sequence[socket.socket], doors: Doors) -> Iterator[socket.socket]:
    """Those of `sockets` that may be listened on: loopback stays shut where nobody can be known there."""
    try:
        if any(each.family != socket.AF_UNIX for each in sockets):
            doors.open_loopback()
    except OSError as error:
        log.error("not listening on loopback: cannot tell who is there: %s", error)
        for each in sockets:
            if each.family != socket.AF_UNIX:
                each.close()
    for each in sockets:
        if each.fileno() >= 0:
            print(f"Starting HTTP on {name_of(each)} ...", file=sys.stderr, flush=True)
            yield each


def name_of(listener: socket.socket) -> str:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return str(name)
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


async def _listen(reception: Reception, listener: socket.socket) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    if listener.family != socket.AF_UNIX:
        keep_watch(listener)  # what is accepted has it from there
        return await loop.create_server(reception, sock=listener, backlog=BACKLOG)
    create: Callable[..., Any] = loop.create_unix_server
    # Since Python 3.13 closing it would remove the file, which is systemd's where that made the socket.
    keep = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
    server: asyncio.Server = await create(reception, sock=listener, backlog=BACKLOG, **keep)
    return server


def inherited_sockets() -> list[socket.socket]:
    """What systemd hands over (sd_listen_fds(3)); anything but a listening stream is put back."""
    meant, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if meant != str(os.getpid()) or not count.isdigit():
        return []
    found = list[socket.socket]()
    for number, name in zip(range(_FIRST_FD, _FIRST_FD + int(count)), names, strict=False):
        os.set_inheritable(number, False)
        if name not in ("local", "loopback") and not name.startswith(STORED):
            log.warning("systemd handed over a socket named %r, which is not known here", name)
            os.close(number)
            continue
        found.append(socket.socket(fileno=number))
    return found


def bound_sockets(listen: Listen) -> list[socket.socket]:
    """Raises Unavailable. TCP first: of two agents started at once, one gets no further."""
    with contextlib.ExitStack() as undo:
        found = list[socket.socket]()
        if listen.port is not None:
            found.append(undo.enter_context(_bind_loopback(socket.AF_INET, "127.0.0.1", listen.port)))
            try:
                port = found[0].getsockname()[1]
                found.append(undo.enter_context(_bind_loopback(socket.AF_INET6, "::1", port)))
            except Unavailable as failure:
                log.info("%s", failure)  # no IPv6 here
        found.insert(0, undo.enter_context(_bind_unix(listen.socket)))
        undo.pop_all()
        return found


def _bind_loopback(family: int, host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(f"{host}:{port}", error) from None


def _bind_unix(path: Path) -> socket.socket:
    """A socket for root and group `geard`, in place of one that nobody answers at. Raises Unavailable."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_stale(path)
        before = os.umask(0o177)  # nobody gets in before it is whose it should be
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        if (group := group_id(GROUP)) is not None:
            os.chown(path, -1, group)
            path.chmod(0o660)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen(str(path), error) from None
    return listener


def _remove_stale(path: Path) -> None:
    """Raises OSError where somebody answers at `path`, or it is no socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "there is something else of that name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its queue is full: there it is
            pass
    raise OSError(errno.EADDRINUSE, "an agent answers there")


def _cannot_listen(where: str, error: OSError) -> Unavailable:
    hint = "is geard running already? systemctl status geard" if error.errno == errno.EADDRINUSE else ""
    return Unavailable(f"cannot listen at {where}: {error.strerror}", hint=hint)
