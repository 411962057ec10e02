"""HTTP: from what came over the line to a request, from its answer to what this client understands.

The order of checks: who asks, from where (`manners`), the request id, what is asked (`table`), whether they
may, in which form, the body. Nothing of a question is looked at for somebody who may not ask it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

from aiohttp import HttpVersion11, web
from multidict import MultiMapping
from yarl import URL

from geard.daemon import archives
from geard.daemon.admission import Admission, Visit, check_reach, check_scope
from geard.daemon.audit import Audit
from geard.daemon.callback import check_callback, take_callback
from geard.daemon.connections import BODY_SECONDS, OtherVersion, TooSlow, check_head
from geard.daemon.entering import Entrances, until
from geard.daemon.exposition import Exposition
from geard.daemon.forms import (
    JSON_TYPE,
    FileLines,
    Form,
    Lines,
    NdjsonLines,
    TextLines,
    encode_json,
    failure_body,
    lines_of,
    parse_accept,
    whole,
)
from geard.daemon.manners import check_manners
from geard.daemon.pages import HEADERS, Pages, harmless
from geard.daemon.plain import Protocols, ask_of, pieces_of
from geard.daemon.streaming import Stall, Turns, steps_of, take_cursor
from geard.daemon.table import Entry, PageEntry, Table, WrongMethod
from geard.daemon.tally import OTHER, Name, Tally
from geard.daemon.upgrade import AskersLine, UpgradeRequired, upgraded, wants_session
from geard.dispatch.dispatcher import RUNNING_LIMIT, Dispatcher
from geard.dispatch.entered import Entered
from geard.dispatch.plain import Plain
from geard.dispatch.running import LeftError, Running
from geard.exchange import Exit, Failed, Session, Talk
from geard.failures import (
    AlreadyExists,
    Bug,
    Conflict,
    Denied,
    Failure,
    Full,
    Invalid,
    NotAcceptable,
    NotFound,
    PreconditionFailed,
    TimedOut,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from geard.frames import PROTOCOL
from geard.host import fields
from geard.identifiers import new_request_id, parse_request_id
from geard.measures import Measure, single
from geard.request import Answer, Asker, Nothing, Piece, Request, answer_type, stream_item
from geard.transport.wire import BODY_LIMIT, REQUEST_ID, parse

log = logging.getLogger(__name__)
T = TypeVar("T")

STATUS: dict[type[Failure], int] = {
    Invalid: 400,
    TooLarge: 413,
    NotAcceptable: 406,
    WrongMethod: 405,
    UpgradeRequired: 426,
    TooSlow: 408,
    OtherVersion: 505,
    Unauthenticated: 401,
    Denied: 403,
    NotFound: 404,
    AlreadyExists: 409,
    Conflict: 409,
    PreconditionFailed: 412,
    TooMany: 429,
    Full: 503,
    Unavailable: 503,
    TimedOut: 504,
    Bug: 500,
    Failure: 500,
}

# Where the original's client knows another code for the same thing.
ORIGINAL_STATUS: dict[tuple[str, str, type[Failure]], int] = {
    ("POST", "/container/{id}/restart", Conflict): 429,
    ("POST", "/container/{id}/restart", PreconditionFailed): 429,
}

RETRY_SECONDS = 1
BEAT_SECONDS = 15.0
# So long headers wait for a stream's first item: what fails until then has a status, not a line of text.
FIRST_ITEM_SECONDS = 2.0
# Each is a few processes and some 50 MB.
SESSIONS = 100
# What `"Wait": true` in a body means; the original's 15 seconds.
WAIT_SECONDS = 15.0


@dataclass
class Question:
    """One HTTP request on its way to an answer; what is not known yet is empty."""

    http: web.BaseRequest
    visit: Visit
    id: str
    asker: Asker | None = None
    entry: Entry | None = None
    form: Form = Form.PLAIN
    page: PageEntry | None = None
    told: str = ""
    """what the journal is told of it beside its path"""
    callback: str = ""
    """a URL that is told when it has ended; empty for none"""
    entered: Entered | None = None
    """what is asked instead, where the path is a link that stands for another request"""
    shown: str = ""
    """the path as the journal may have it"""
    begun: float = field(default_factory=time.monotonic)
    headed: float | None = None
    """when the head of an answer that goes on was made"""
    seen: int = 0
    """how many steps of the report the asker has had"""

    @property
    def name(self) -> Name:
        if self.page is not None and self.http.method in ("GET", "HEAD"):
            return self.http.method, self.page.path
        return (self.entry.method, self.entry.route.path) if self.entry is not None else OTHER

    @property
    def method(self) -> str:
        return self.entered.method if self.entered is not None else self.http.method

    @property
    def path(self) -> str:
        return self.entered.path if self.entered is not None else self.http.rel_url.raw_path

    @property
    def query(self) -> MultiMapping[str]:
        if self.entered is not None:
            return URL(f"?{self.entered.query}", encoded=True).query
        return self.http.rel_url.query

    @property
    def line(self) -> str:
        """Method and path for the journal."""
        if self.entered is not None:
            return f"{self.method} {self.path[:300]} by {self.shown}"
        return f"{self.http.method} {self.shown}"

    def headers(self) -> dict[str, str]:
        headers = {REQUEST_ID: self.id, "Server": "geard"}
        if self.entered is not None:
            headers |= {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return headers

    def fields(self, in_path: Mapping[str, str]) -> dict[str, str]:
        """Of whatever the journal is told while this is answered."""
        asker = "somebody" if self.asker is None else self.asker.name
        found = {fields.REQUEST_ID: self.id, fields.ASKER: asker, fields.DOOR: self.visit.door}
        if self.entry is not None:
            found[fields.ROUTE] = self.entry.name
            found[fields.REQUEST] = self.entry.request.__name__
            found |= fields.about(self.entry.route.path, in_path.get("id", ""))
        return found


class Api:
    def __init__(
        self,
        dispatcher: Dispatcher,
        requests: Iterable[type[Request[Any]]],
        admission: Admission | None = None,
        audit: Audit | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._admission = admission or Admission(None)
        self._audit = audit or Audit()
        self._table = Table(requests)
        self.tally = Tally()
        self.pages = Pages(self._table.entries, STATUS, Exposition(dispatcher.host, self.tally, self.measures))
        self._own_names = frozenset((socket.gethostname().lower(),))
        self._entrances = Entrances(dispatcher.host)
        self._protocols = Protocols()
        self._sessions = 0
        self._turns = Turns()
        self.stopping = asyncio.Event()
        """set: streams that would go on for ever end now"""

    async def answer(self, http: web.BaseRequest, visit: Visit) -> web.StreamResponse:
        question = Question(http, visit, new_request_id(), shown=self._entrances.shown(http.rel_url.raw_path))
        fields.with_fields(question.fields({}))
        response = await self._answered(question)
        if self.stopping.is_set() and not response.prepared:
            response.force_close()  # the next request finds the next agent
        self.tally.answers(question.name, response.status, (question.headed or time.monotonic()) - question.begun)
        return response

    async def _answered(self, question: Question) -> web.StreamResponse:
        http, visit = question.http, question.visit
        try:
            question.entered = await self._entrances.enter(http)
            if question.entered is None:
                return await self._answer(question)
            visit.welcome()
            visit.holds = question.entered.holds
            log.info("%s, %s: %s", question.entered.asker.name, visit.door, question.line)
            async with until(visit, question.entered.expires) as question.visit:
                return await self._answer(question)
        except Failure as failure:
            return self._refuse(question, failure)
        except ConnectionError:
            raise  # the asker left; aiohttp tidies up
        except Exception:
            log.exception("request %s (%s) met a bug", question.id, question.line)
            return self._refuse(
                question, Bug(f"geard met a bug of its own; the journal knows it as request {question.id}")
            )

    async def _answer(self, question: Question) -> web.StreamResponse:
        http, visit, entered = question.http, question.visit, question.entered
        if entered is not None:
            asker = question.asker = entered.asker
        else:
            shown = http.headers.getall("Authorization", ())
            protocol = self._protocols.of(http.rel_url.raw_path)
            asker = question.asker = self._admission.asker(visit, shown, basic=protocol is not None)
        check_head(http)
        path = question.path
        own_names = self._own_names if visit.door == "loopback" else None
        link = http.method == "GET" and harmless(http.rel_url.raw_path)
        by_token = "Authorization" in http.headers and entered is None
        # By TLS a browser gets here by no name but the certificate's, and sends nothing that git's paths take.
        program = by_token or (visit.door.startswith("TLS") and self._protocols.of(path) is not None)
        check_manners(http.headers, own_names, link=link, shown=program)
        if given := http.headers.get(REQUEST_ID):
            question.id = parse_request_id(given)
        if entered is not None and entered.request_id:
            question.id = entered.request_id
        fields.with_fields(question.fields({}))
        if entered is None and (protocol := self._protocols.of(path)) is not None:
            return await self._serve(question, protocol, asker)
        question.page = self.pages.known.get(path)
        if question.page is not None:
            return await self._show(question, question.page, asker)
        question.entry, in_path = self._table.find(question.method, path)
        fields.with_fields(question.fields(in_path))
        route = question.entry.route
        check_scope(asker, route, f"{question.method} {path}")
        question.form = parse_accept(http.headers.get("Accept", ""))
        query = dict(question.query)
        if len(query) != len(question.query):
            raise Invalid("the query says something twice")
        follow = route.mutates and _truth(query.pop("follow", ""))
        streams = stream_item(answer_type(question.entry.request)) is not None
        if follow:
            question.seen = steps_of(take_cursor(http.headers, query))
        if streams and (cursor := take_cursor(http.headers, query)):
            query["after"] = cursor
        if (
            streams
            and question.form is Form.SSE
            and {"follow", "timeout", "until"}.isdisjoint(map(str.lower, query))
        ):
            query["follow"] = "true"  # whoever listens so comes back when it ends
        question.callback = take_callback(http.headers, query)
        is_body = question.entry.request.archive and not wants_session(http)
        body = entered.body if entered is not None else b"" if is_body else await _body(http)
        request = parse(question.entry.request, in_path, query, body)
        question.told = request.told()
        check_reach(asker, route, request)
        question.callback = question.callback or request.callback()
        if question.callback:
            check_callback(self._dispatcher, question.callback, route, type(request))
        if entered is not None:
            await entered.spend()
        self.tally.begins(name := question.name)
        try:
            return await self._do(question, request, asker, follow)
        finally:
            self.tally.ends(name)

    async def _do(
        self, question: Question, request: Request[Any], asker: Asker, follow: bool
    ) -> web.StreamResponse:
        if answer_type(type(request)) is Session:
            if type(request).archive and not wants_session(question.http):
                return await self._archive(question, request, asker)
            return await self._session(question, request, asker)
        assert question.entry is not None
        if question.entry.route.mutates:
            return await self._perform(question, request, asker, follow)
        item = stream_item(answer_type(type(request)))
        if item is not None:
            return await self._stream(question, self._dispatcher.stream(request, asker), file=item is Piece)
        return self._whole(question, await self._dispatcher.ask(request, asker))

    async def _serve(self, question: Question, protocol: ModuleType, asker: Asker) -> web.StreamResponse:
        http = question.http
        ask = ask_of(http, asker, question.visit.door.removeprefix("TLS from "))
        if not protocol.RUNS_PROGRAMS:
            return await self._serve_plain(question, await protocol.answer(self._dispatcher.host, ask))
        self._check_room()
        self._sessions += 1
        try:
            plain: Plain = await protocol.answer(self._dispatcher.host, ask)
            try:
                return self._told(question, await self._serve_plain(question, plain))
            finally:
                if plain.output is not None:
                    await plain.output.aclose()
        finally:
            self._sessions -= 1

    async def _serve_plain(self, question: Question, plain: Plain) -> web.StreamResponse:
        http = question.http
        if plain.pieces is None and plain.output is None:
            return self._plain(question, plain)
        response = web.StreamResponse(status=plain.status, headers={**question.headers(), **plain.headers})
        if plain.output is None:
            response.content_length = plain.length
        question.headed = time.monotonic()
        if http.method == "HEAD":
            return response
        return await self._send(question, response, TextLines(), plain.output or pieces_of(plain))

    def _plain(self, question: Question, plain: Plain) -> web.Response:
        return web.Response(status=plain.status, body=plain.body, headers={**question.headers(), **plain.headers})

    async def _show(self, question: Question, page: PageEntry, asker: Asker) -> web.StreamResponse:
        method = question.http.method
        if method not in ("GET", "HEAD"):
            raise WrongMethod(method, page.path, ("GET", "HEAD"))
        if not asker.may(page.scope):
            raise Denied(f"{asker.name} may not {method} {page.path}", hint=f"it takes scope {page.scope}")
        return _respond(question, 200, page.type, await self.pages.body(page), HEADERS)

    def measures(self) -> list[Measure]:
        return [
            single("geard_requests_running", "Changes being worked on.", self._dispatcher.running),
            single("geard_requests_running_max", "The most there may be; then it is 503.", RUNNING_LIMIT),
            single(
                "geard_requests_queued", "Of those running, that wait for their turn.", self._dispatcher.queued
            ),
            single("geard_sessions_open", "Programs run in gears for somebody.", self._sessions),
            single("geard_streams_open", "Logs and the like that are being followed.", self._streams()),
        ]

    def _streams(self) -> int:
        streams = [e for e in self._table.entries if stream_item(answer_type(e.request)) is not None]
        return sum(self.tally.open[entry.method, entry.route.path] for entry in streams)

    async def _perform(
        self, question: Question, request: Request[Any], asker: Asker, follow: bool
    ) -> web.StreamResponse:
        running = self._dispatcher.perform(request, asker, question.id)
        if question.callback and self._dispatcher.callbacks is not None:
            line, secret = f"{question.method} {question.path}", type(request).secret_answer
            await self._dispatcher.callbacks.promise(
                running, question.callback, line, asker.name, secret_answer=secret
            )
        answer: Answer = await running.answer()
        patience = _patience(question.http.headers, request)
        if not follow and patience is None:
            return self._told(question, self._whole(question, answer))
        if question.form is Form.JSON:
            await _settled(running, patience)
            return self._told(question, self._whole(question, answer))
        status = 202 if question.form is Form.ORIGINAL else 200
        lines = lines_of(question.form, question.id)
        response = _begin(question, status, lines, answer.headers())
        self._told(question, response)
        return await self._send(
            question, response, lines, _report(running, answer, lines, patience, question.seen)
        )

    async def _stream(self, question: Question, items: AsyncIterator[Answer], *, file: bool) -> web.StreamResponse:
        first = asyncio.ensure_future(_next(items))
        try:
            await asyncio.wait({first}, timeout=None if file else FIRST_ITEM_SECONDS)
            found = first.result() if first.done() else None
            status = 202 if question.form is Form.ORIGINAL else 200
            lines, further = lines_of(question.form, question.id), dict[str, str]()
            if isinstance(found, Piece) and isinstance(lines, TextLines):
                lines = FileLines(found)
                if found.name:
                    further = {"Content-Disposition": f'attachment; filename="{found.name}"'}
            response = _begin(question, status, lines, further)
            parts = _items(first, items, lines, question.id)
            return await self._send(question, response, lines, parts, endless=True)
        finally:
            await _close(first, items)

    async def _session(self, question: Question, request: Request[Any], asker: Asker) -> web.StreamResponse:
        """Talk until the program there has ended, or the asker leaves. It takes no record: it cannot be joined."""
        if not wants_session(question.http):
            raise UpgradeRequired(question.http.rel_url.raw_path)
        self._check_room()
        self._sessions += 1
        try:
            talk: Talk = await self._dispatcher.ask(request, asker)
            response = web.StreamResponse(status=101, headers=question.headers())
            question.headed = time.monotonic()
            self._told(question, response)
            async with upgraded(question.http, response) as line:
                end = await self._talked(question, talk, line)
                log.info("session %s: %s", question.id, end)
        finally:
            self._sessions -= 1
        return response

    def _check_room(self) -> None:
        if self._sessions >= SESSIONS:
            raise Full(f"{SESSIONS} sessions are open", hint="ask again when one has ended")

    async def _archive(self, question: Question, request: Request[Any], asker: Asker) -> web.StreamResponse:
        """The same where what goes between is a body. One that cannot be completed is broken off."""

        def begin() -> web.StreamResponse:
            question.headed = time.monotonic()
            return web.StreamResponse(headers={**question.headers(), "Content-Type": archives.TYPE})

        self._check_room()
        self._sessions += 1
        line = archives.BodyLine(question.http, begin)
        try:
            talk: Talk = await self._dispatcher.ask(request, asker)
            await self._until_left(question, talk, line)
        except BaseException as error:
            if line.response is None:
                raise
            if isinstance(error, Failure):
                log.info("request %s is broken off: %s", question.id, error.message)
            if question.http.transport is not None:
                question.http.transport.abort()
            raise ConnectionResetError from None
        finally:
            self._sessions -= 1
        if line.response is None:
            return self._told(question, self._whole(question, Nothing()))
        await line.response.write_eof()
        return line.response

    async def _until_left(self, question: Question, talk: Talk, line: archives.BodyLine) -> None:
        """Raises the Failure it ends with, ConnectionError where the asker has left."""
        talking = await self._first_of(talk(line), question.visit.gone)
        if not talking.cancelled():
            talking.result()
        elif question.visit.gone.is_set():
            raise ConnectionResetError
        else:
            raise Unavailable("the agent is stopping; what ran was ended", hint="try again in a moment")

    async def _first_of(self, talk: Awaitable[int], gone: asyncio.Event) -> asyncio.Future[int]:
        """A talk that has ended, by itself or since the asker has left or the agent stops."""
        talking = asyncio.ensure_future(talk)
        ends = {asyncio.create_task(gone.wait()), asyncio.create_task(self.stopping.wait())}
        try:
            await asyncio.wait({talking, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (talking, *ends):
                task.cancel()
            await _all_ended({talking, *ends})
        return talking

    async def _talked(self, question: Question, talk: Talk, line: AskersLine) -> str:
        talking = await self._first_of(talk(line), line.gone)
        if line.gone.is_set():
            return "the asker has left; what ran was ended"
        try:
            status = talking.result()
        except asyncio.CancelledError:
            failure: Failure = Unavailable(
                "the agent is stopping; what ran was ended", hint="try again in a moment"
            )
        except Failure as error:
            failure = error
        except Exception:
            log.exception("session %s met a bug", question.id)
            failure = Bug(f"geard met a bug of its own; the journal knows it as request {question.id}")
        else:
            await line.say(Exit(status))
            return f"ended with {status}"
        await line.say(Failed(failure))
        return failure.message

    async def _send(
        self,
        question: Question,
        response: web.StreamResponse,
        lines: Lines,
        parts: AsyncGenerator[bytes, None],
        *,
        endless: bool = False,
    ) -> web.StreamResponse:
        """Write `parts` as they come, at the pace they are read at, until they end or the asker leaves; one that
        stays and reads nothing is cut off after a while.
        """

        async def write() -> None:
            async for part in parts:
                if part:
                    await self._turns.mine()
                    await response.write(part)

        if self.stopping.is_set():
            response.force_close()
        await response.prepare(question.http)
        writing, stall = asyncio.create_task(write()), Stall(question.http.transport)
        ends = {asyncio.create_task(question.visit.gone.wait())}
        if endless:
            ends.add(asyncio.create_task(self.stopping.wait()))
        try:
            while True:
                done, _ = await asyncio.wait(
                    {writing, *ends}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    break
                if stall.too_long(asyncio.get_running_loop().time()):
                    stall.cut()
                    break
                if not stall.waiting and (beat := lines.beat()):
                    await response.write(beat)
        finally:
            for task in (writing, *ends):
                task.cancel()
            await asyncio.wait({writing, *ends})
            await parts.aclose()
        error = None if writing.cancelled() else writing.exception()
        if isinstance(error, ConnectionAbortedError) and question.http.transport is not None:
            log.warning("request %s was cut off: %s", question.id, error)
            question.http.transport.abort()
        elif isinstance(error, Failure):
            log.warning("request %s was not answered to its end: %s", question.id, error)
            response.force_close()
        elif error is not None and not isinstance(error, ConnectionError):
            log.error("request %s met a bug while it was answered", question.id, exc_info=error)
            response.force_close()
        return response

    def _whole(self, question: Question, answer: Answer) -> web.Response:
        assert question.entry is not None
        piece = whole(answer, question.entry.route, question.form)
        return _respond(question, piece.status, piece.type, piece.body, answer.headers())

    def _refuse(self, question: Question, failure: Failure) -> web.StreamResponse:
        status, protocol = status_of(failure, question), self._protocols.of(question.http.rel_url.raw_path)
        if protocol is None:
            body = encode_json(failure_body(failure, question.id))
            response = _respond(question, status, JSON_TYPE, body)
        else:
            response = self._plain(question, protocol.refusal(failure, status))
        if isinstance(failure, Full | TooMany):
            response.headers["Retry-After"] = str(getattr(failure, "retry_after", RETRY_SECONDS))
        if isinstance(failure, WrongMethod):
            response.headers["Allow"] = ", ".join(failure.allowed)
        if isinstance(failure, UpgradeRequired):
            response.headers["Upgrade"] = PROTOCOL
        if isinstance(failure, TooSlow | OtherVersion):
            response.force_close()
        if question.asker is None:
            if isinstance(failure, Unauthenticated) and protocol is None:
                response.headers["WWW-Authenticate"] = "Bearer"
            response.force_close()
            self._audit.refused(question.visit.door, question.line, failure.message, question.id)
            return response
        return self._told(question, response)

    def _told(self, question: Question, response: web.StreamResponse) -> web.StreamResponse:
        """One line in the journal for each request that would change something, written when the answer is on its
        way: that takes as long as some requests do.
        """
        http = question.http
        if http.method not in ("GET", "HEAD", "OPTIONS"):
            asyncio.get_running_loop().call_soon(_write_down, question, response.status)
        return response


def _write_down(question: Question, status: int) -> None:
    asker = question.asker
    log.info(
        "%s, %s: %s%s [%s] %d",
        "somebody" if asker is None else asker.name,
        question.visit.door,
        question.line,
        f" ({question.told[:100]!r})" if question.told else "",
        question.id,
        status,
        extra=fields.also({fields.STATUS: str(status)}),
    )


async def _all_ended(tasks: Set[asyncio.Future[Any]]) -> None:
    """Wait for all; cancelled meanwhile, cancel them once more, so that they hurry, and wait all the same."""
    while left := {task for task in tasks if not task.done()}:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError:
            for task in left:
                task.cancel()


def status_of(failure: Failure, question: Question) -> int:
    if question.form is Form.ORIGINAL and question.entry is not None:
        known = ORIGINAL_STATUS.get((question.entry.method, question.entry.route.path, type(failure)))
        if known is not None:
            return known
    return next(STATUS[kind] for kind in type(failure).__mro__ if kind in STATUS)


def _respond(
    question: Question, status: int, type: str, body: bytes, further: Mapping[str, str] | None = None
) -> web.Response:
    headers = {**question.headers(), **(further or {})}
    if type:
        headers["Content-Type"] = _with_charset(type)
    return web.Response(status=status, body=body or None, headers=headers)


def _begin(question: Question, status: int, lines: Lines, further: Mapping[str, str]) -> web.StreamResponse:
    question.headed = time.monotonic()
    headers = {**question.headers(), **further, "Content-Type": _with_charset(lines.type)}
    return web.StreamResponse(status=status, headers=headers)


def _with_charset(type: str) -> str:
    return f"{type}; charset=utf-8" if type.startswith("text/") and "charset" not in type else type


async def _body(http: web.BaseRequest) -> bytes:
    """Raises TooLarge, TooSlow."""
    if (http.content_length or 0) > BODY_LIMIT:
        raise _too_large()
    if http.headers.get("Expect", "").lower() == "100-continue" and http.version == HttpVersion11:
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0  # what counts is the answer
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in http.content.iter_any():
                body += chunk
                if len(body) > BODY_LIMIT:
                    raise _too_large()
    except TimeoutError:
        raise TooSlow(f"the body has not come within {BODY_SECONDS:g} s of its head") from None
    return bytes(body)


def _too_large() -> TooLarge:
    return TooLarge(f"the body is larger than {BODY_LIMIT} bytes")


def _truth(text: str) -> bool:
    return text.lower() in ("1", "true", "yes")


def _patience(headers: Mapping[str, str], request: Request[Any]) -> float | None:
    """For how many seconds the asker wants to see the report: Prefer: wait=N (RFC 7240), or Wait in the body.

    None where neither says so. Raises Invalid.
    """
    for preference in headers.get("Prefer", "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            value = value.strip().strip('"')
            if not (value.isascii() and value.isdigit()):
                raise Invalid(f"Prefer: wait={value} is no number of seconds")
            return float(value)
    # a request that can be waited for says so with a field of that name: true, or a number of seconds
    wait = getattr(request, "wait", False)
    if wait is True:
        return WAIT_SECONDS
    return float(wait) if wait else None


async def _report(
    running: Running, answer: Answer, lines: Lines, patience: float | None, seen: int
) -> AsyncGenerator[bytes, None]:
    """The answer, and the steps after the first `seen`."""
    yield lines.answer(answer)
    number = 0
    try:
        async for step in _within(running.report(), patience, running.id):
            number += 1
            if number > seen:
                yield lines.step(step, number)
    except LeftError as left:
        if not isinstance(lines, NdjsonLines):  # a program sees that it has no end, and asks again
            yield lines.failure(left)
    except Failure as failure:
        yield lines.failure(failure)
    else:
        yield lines.done()


async def _settled(running: Running, patience: float | None) -> None:
    async for _ in _within(running.report(), patience, running.id):
        pass


async def _within(items: AsyncIterator[T], patience: float | None, id: str) -> AsyncGenerator[T, None]:
    """`items` for so many seconds. Raises TimedOut, naming the request to join again."""
    until = None if patience is None else asyncio.get_running_loop().time() + patience
    while True:
        try:
            async with asyncio.timeout_at(until):
                item = await anext(items)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise TimedOut(
                f"still going on after {patience:g} s",
                hint=f"ask again with {REQUEST_ID}: {id} to see the rest",
            ) from None
        yield item


async def _items(
    first: asyncio.Future[Answer | None], items: AsyncIterator[Answer], lines: Lines, id: str
) -> AsyncGenerator[bytes, None]:
    try:
        item = await first
        while item is not None:
            yield lines.item(item)
            item = await _next(items)
    except Failure as failure:
        yield lines.failure(failure)
    except Exception:
        log.exception("request %s met a bug", id)
        yield lines.failure(Bug(f"geard met a bug of its own; the journal knows it as request {id}"))
    else:
        yield lines.done()


async def _next(items: AsyncIterator[Answer]) -> Answer | None:
    return await anext(items, None)


async def _close(first: asyncio.Future[Answer | None], items: AsyncIterator[Answer]) -> None:
    if not first.done():
        first.cancel()
        await asyncio.wait({first})
    if isinstance(items, AsyncGenerator):
        await items.aclose()
