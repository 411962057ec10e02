"""Requests to an agent: over its unix socket, over loopback, or over TLS to a machine that `gear host add` made
known, which is told nothing before it has shown that it is the one. Standard library only: a `gear` starts fast.

A connection that breaks after the request was sent is made again, once, and the request sent again with the
same id: whatever the agent had begun is joined, not done twice, and no step of a report is told twice.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import msgspec

from geard.exchange import Session
from geard.failures import Denied, Failure, Invalid, TimedOut, Unauthenticated, Unavailable, failure_of_kind
from geard.frames import PROTOCOL
from geard.identifiers import DEFAULT_PORT, Place, RequestIds, new_request_id
from geard.request import Follow, Progress, Request, Stream, answer_type, stream_item
from geard.transport import ConnectionBroken, known_hosts
from geard.transport.known_hosts import TlsPlace
from geard.transport.session import HttpSession
from geard.transport.wire import CALLBACK, NDJSON, REQUEST_ID, Call, write

R = TypeVar("R")
T = TypeVar("T")

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0  # while it streams, the agent says something every 15
_OUT_OF_TIME = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_GROUP_HINT = "sudo gear …, or as root: adduser USER geard, then log in anew"


class HttpTransport:
    """Speaks to the agent at a place or behind a unix socket, over one connection. For one thread.

    `request_id` is the id of the first mutating request. The ids of those after it follow from it, so that
    the same requests sent again join the same work. Without it each request has a new one. `bearer` is a token
    that is shown with each request.
    """

    def __init__(self, at: TlsPlace | Place | os.PathLike[str] | str, request_id: str | None = None) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self._at = at
        self._name = str(at)
        self.bearer = at.bearer if isinstance(at, TlsPlace) else ""
        self._ids = RequestIds(request_id or "")
        self.callback = ""
        """a URL that is told when what is asked here has ended"""

    def send(self, request: Request[R], *, follow: Follow | None = None) -> R:
        """See `Transport`. Raises Unavailable where no agent answers, TimedOut where it falls silent."""
        call, kind = write(request), answer_type(type(request))
        if kind is Session:
            return cast(R, self._session(call))
        item = stream_item(kind)
        if item is not None:
            # Who follows goes on from what they were given, which is theirs to say: not asked again here.
            return cast(R, self._stream(call, item, again=getattr(request, "follow", None) is not True))
        if call.method in ("GET", "HEAD"):
            return cast(R, self._question(call, kind))
        return cast(R, self._perform(call, kind, follow))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        self.close()  # a Transport has no end of its own that somebody could tell

    def _question(self, call: Call, kind: Any) -> Any:
        id = new_request_id()

        def ask() -> bytes:
            with _broken_off():
                return self._ask(call, "application/json", id).read()

        return _convert(_decode(self._twice(ask, id), self._name), kind)

    def _stream(self, call: Call, item: Any, *, again: bool) -> Stream[Any]:
        id = new_request_id()
        if again:
            response = self._twice(lambda: self._ask(call, NDJSON, id), id)
        else:
            self.close()  # one that was kept alive may have ended
            try:
                response = self._ask(call, NDJSON, id)
            except (_BrokenError, TimeoutError):
                self.close()
                raise _broken(self._name) from None
        connection, self._connection = self._connection, None  # the stream's own from now on
        assert connection is not None
        return _HttpStream(connection, _events(response, self._name), item, self._name)

    def _session(self, call: Call) -> Session:
        """On a connection of its own, and asked for once: what was begun cannot be joined. Raises Invalid."""
        if self.callback:
            raise Invalid("a session has no end that anybody could be told of", hint="leave --callback out")
        apart = HttpTransport(self._at)
        apart.bearer = self.bearer
        connection = apart._connected()
        connection.response_class = _BareResponse
        upgrade = {"Connection": "Upgrade", "Upgrade": PROTOCOL}
        try:
            response = apart._ask(call, "application/json", new_request_id(), upgrade)
        except (_BrokenError, TimeoutError):
            raise _broken(self._name) from None
        if response.status != 101:
            raise Unavailable(f"{self._name} opens no session", hint="is it of another version?")
        line, connection.sock = connection.sock, None
        response.close()
        return HttpSession(line, self._name)

    def _perform(self, call: Call, kind: Any, follow: Follow | None) -> Any:
        id, told, answer, announced = self._ids.next(), 0, None, False
        further = {CALLBACK: self.callback} if self.callback else None
        if follow is not None:
            mark = "&" if "?" in call.target else "?"
            call = Call(call.method, f"{call.target}{mark}follow=true", call.body)

        def perform() -> Any:
            nonlocal told, answer, announced
            seen = 0
            for event in _events(self._ask(call, NDJSON, id, further), self._name):
                if "Answer" in event:
                    answer = _convert(event["Answer"], kind)
                    if follow is not None and not announced:
                        announced = True
                        follow(answer)
                elif "Progress" in event:
                    seen += 1
                    if follow is not None and seen > told:
                        told = seen
                        follow(_convert(event["Progress"], Progress))
            return answer

        return self._twice(perform, id)

    def _twice(self, exchange: Callable[[], T], id: str) -> T:
        """Do `exchange`, and once more where the connection broke: most often one kept alive that has ended.

        Raises Unavailable, TimedOut.
        """
        try:
            try:
                return exchange()
            except _BrokenError:
                self.close()
                return exchange()
        except _BrokenError:
            self.close()
            hint = f"what was begun goes on; ask again as request {id}"
            if isinstance(self._at, TlsPlace):
                hint += "; or our certificate is not accepted there: gear host add, anew"
            raise _broken(self._name, hint=hint) from None
        except TimeoutError:
            self.close()
            raise TimedOut(f"{self._name} has fallen silent", hint=f"the request goes on as {id}") from None

    def _ask(
        self, call: Call, accept: str, id: str, further: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """The agent's response, read up to its body. Raises the Failure it is, if it is one."""
        headers = {"Accept": accept, REQUEST_ID: id, "X-Api-Version": "1", **(further or {})}
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connected()
        with _broken_off():
            connection.request(call.method, call.target, body=call.body, headers=headers)
            response = connection.getresponse()
            if response.status < 400:
                return response
            body = response.read()
        raise _told(response, body, self._name)

    def _connected(self) -> http.client.HTTPConnection:
        """The connection, made if there is none. Raises Unavailable, Denied, Unauthenticated."""
        if self._connection is None:
            self._at = _resolved(self._at)
            connection = _connection(self._at)
            try:
                connection.connect()
            except PermissionError:
                connection.close()
                raise Denied(f"may not use {self._name}", hint=_GROUP_HINT) from None
            except ssl.SSLCertVerificationError as error:
                connection.close()
                raise _not_the_one(self._name, error) from None
            except OSError as error:
                connection.close()
                why = f" ({error.strerror})" if isinstance(error, socket.gaierror) else ""
                raise Unavailable(f"no agent answers at {self._name}{why}", hint=_silence_hint(self._at)) from None
            if isinstance(self._at, Place) and not known_hosts.is_here(self._at.host):
                connection.close()
                raise _stranger(self._at)
            connection.sock.settimeout(SILENCE_SECONDS)
            self._connection = connection
        return self._connection


class _BrokenError(Exception):
    """The connection ended before it should."""


@contextmanager
def _broken_off() -> Generator[None, None, None]:
    try:
        yield
    except TimeoutError:
        raise
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            hint = "are the clocks right, there too (gear doctor)? gear host add, by a new invitation"
            raise Unauthenticated(f"our certificate is not accepted there: {error.reason}", hint=hint) from None
        raise _BrokenError from error
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: closed on this side
        raise _BrokenError from error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _resolved(at: TlsPlace | Place | os.PathLike[str] | str) -> TlsPlace | Place | os.PathLike[str] | str:
    """A machine that is known by a certificate is asked where, and as, its file says. Raises Unavailable."""
    if isinstance(at, Place) and (known := known_hosts.find(at.host)) and at.port in (DEFAULT_PORT, known.port):
        return known_hosts.tls_place(at.host, known)
    return at


def _stranger(at: Place) -> Failure:
    return Unauthenticated(
        f"{at} is not known here; nothing was sent to it",
        hint=f"there, as root: gear host invite {socket.gethostname()}; here: gear host add {at.host} ADDRESS",
    )


def _not_the_one(name: str, error: ssl.SSLCertVerificationError) -> Failure:
    if error.verify_code in _OUT_OF_TIME:
        return Unauthenticated(
            f"the certificate of {name} does not hold by this machine's clock: {error.verify_message.rstrip('.')}",
            hint=f"it is {time.strftime('%F %R')} here; is that right? gear doctor, here and there",
        )
    return Unauthenticated(
        f"what answers as {name} is not the machine that was joined: {error.verify_message.rstrip('.')}",
        hint="a new address? there: [agent] names in /etc/geard/geard.toml. Was it set up anew? gear host add",
    )


def _connection(at: TlsPlace | Place | os.PathLike[str] | str) -> http.client.HTTPConnection:
    if isinstance(at, TlsPlace):
        context, address = at.context(), at.address.strip("[]")
        return http.client.HTTPSConnection(address, at.port, timeout=CONNECT_SECONDS, context=context)
    if isinstance(at, Place):
        return http.client.HTTPConnection(at.host.strip("[]"), at.port, timeout=CONNECT_SECONDS)
    return _UnixConnection(os.fspath(at))


class _BareResponse(http.client.HTTPResponse):
    """A 101 is read to the end of its head and no further: what follows is no HTTP."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = cast("io.BufferedReader", sock.makefile("rb", buffering=0))

    def begin(self) -> None:
        super().begin()
        if self.status != 101 and isinstance(self.fp, io.RawIOBase):
            self.fp = io.BufferedReader(self.fp)


class _HttpStream(Stream[Any]):
    def __init__(
        self, connection: http.client.HTTPConnection, events: Iterator[dict[str, Any]], item: Any, name: str
    ) -> None:
        self._connection = connection
        self._events = events
        self._item = item
        self._name = name

    def __next__(self) -> Any:
        try:
            for event in self._events:
                if "Item" in event:
                    return _convert(event["Item"], self._item)
        except (_BrokenError, TimeoutError):
            self.close()
            raise _broken(self._name) from None
        self.close()
        raise StopIteration

    def close(self) -> None:
        self._connection.close()


def _events(response: http.client.HTTPResponse, name: str) -> Iterator[dict[str, Any]]:
    """What the agent says, line by line, until it says that this is all.

    Raises the Failure it ends with, _BrokenError where it has no end, TimeoutError where it is silent.
    """
    while True:
        with _broken_off():
            line = response.readline()
        if not line.endswith(b"\n"):
            raise _BrokenError
        event = _decode(line, name)
        if not event.keys().isdisjoint(("Done", "Failure")):
            with _broken_off():
                response.read()  # to its end: the connection can be used again
        if "Failure" in event:
            raise _failure(event["Failure"])
        if "Done" in event:
            return
        yield event


def _told(response: http.client.HTTPResponse, body: bytes, name: str) -> Failure:
    """The Failure in a response with a status of one."""
    try:
        return _failure(msgspec.json.decode(body))
    except (msgspec.DecodeError, KeyError, TypeError):
        lines = body.decode(errors="replace").strip().splitlines() or [response.reason]
        return Unavailable(f"{name} answers {response.status}: {lines[0][:200]}", hint="is that a geard agent?")


def _failure(value: dict[str, Any]) -> Failure:
    kind, message = str(value["Kind"]), str(value["Message"])
    return failure_of_kind(kind, message, hint=str(value.get("Hint", "")), data=value.get("Data"))


def _broken(name: str, hint: str = "") -> ConnectionBroken:
    return ConnectionBroken(f"the connection to {name} broke", hint=hint)


def _decode(text: bytes, name: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unavailable(f"what answers at {name} is no geard agent", hint="look at the port") from None
    return value


def _silence_hint(at: TlsPlace | Place | os.PathLike[str] | str) -> str:
    if isinstance(at, TlsPlace):
        return f"at {at.address}:{at.port}. There: systemctl status geard; [agent] listen in /etc/geard/geard.toml"
    if isinstance(at, Place) and not known_hosts.is_here(at.host):
        return (
            "an agent listens on its own machine only, unless [agent] listen says else. Through SSH:"
            f" ssh -N -L 43274:/run/geard/geard.sock {at.host} &  then localhost:43274/NAME"
        )
    return "systemctl status geard.socket geard-loopback.socket; on the machine itself root needs no agent"


def _convert(value: Any, kind: Any) -> Any:
    """Keys that are not known here are those of a newer agent, and left out."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Unavailable(
            f"cannot understand the agent's answer: {error}", hint="is it of another version?"
        ) from None
