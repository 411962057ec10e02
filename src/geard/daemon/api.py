"""HTTP: from what came over the line to a request, from its answer to what this client understands.

The order of checks: who asks, from where (`manners`), the request id, what is asked (`table`), whether they
may, in which form, the body. Nothing of a question is looked at for somebody who may not ask it.

How it is answered then: a change (`changes`), a stream of items (`streaming`), a session (`sessions`), a page
(`pages`), another protocol (`plain`), a failure (`refusing`); all else whole (`responses`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from geard.daemon.admission import Admission, Visit, check_reach, check_scope
from geard.daemon.audit import Audit
from geard.daemon.body import read_body
from geard.daemon.callback import check_callback, take_callback
from geard.daemon.changes import perform, steps_of
from geard.daemon.connections import check_head
from geard.daemon.entering import Entrances, until
from geard.daemon.exposition import Exposition
from geard.daemon.forms import Form, parse_accept
from geard.daemon.manners import check_manners
from geard.daemon.pages import HEADERS, Pages, harmless
from geard.daemon.plain import Protocols
from geard.daemon.question import Question
from geard.daemon.refusing import STATUS, refuse
from geard.daemon.responses import respond, respond_whole, told
from geard.daemon.sessions import Sessions
from geard.daemon.streaming import stream, take_cursor
from geard.daemon.table import Entry, PageEntry, Table, WrongMethod
from geard.daemon.tally import Tally
from geard.daemon.upgrade import wants_session
from geard.daemon.writing import Writer
from geard.dispatch.dispatcher import RUNNING_LIMIT, Dispatcher
from geard.exchange import Session
from geard.failures import Denied, Failure, Invalid
from geard.host import fields
from geard.identifiers import new_request_id, parse_request_id
from geard.measures import Measure, single
from geard.request import Asker, Piece, Request, answer_type, stream_item
from geard.transport.wire import REQUEST_ID, parse

log = logging.getLogger(__name__)


class Api:
    def __init__(
        self,
        dispatcher: Dispatcher,
        requests: Iterable[type[Request[Any]]],
        admission: Admission | None = None,
        audit: Audit | None = None,
    ) -> None:
        self.stopping = asyncio.Event()
        """set: streams that would go on for ever end now"""
        self.tally = Tally()
        self._dispatcher = dispatcher
        self._admission = admission or Admission(None)
        self._audit = audit or Audit()
        self._table = Table(requests)
        self.pages = Pages(self._table.entries, STATUS, Exposition(dispatcher.host, self.tally, self.measures))
        self._own_names = frozenset((socket.gethostname().lower(),))
        self._entrances = Entrances(dispatcher.host)
        self._writer = Writer(self.stopping)
        self._sessions = Sessions(dispatcher, self.stopping)
        self._protocols = Protocols(dispatcher.host, self._writer, self._sessions)

    async def answer(self, http: web.BaseRequest, visit: Visit) -> web.StreamResponse:
        path = http.rel_url.raw_path
        question = Question(
            http, visit, new_request_id(), self._protocols.of(path), shown=self._entrances.shown(path)
        )
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
            return self._refused(question, failure)
        except ConnectionError:
            raise  # the asker left; aiohttp tidies up
        except Exception:
            log.exception("request %s (%s) met a bug", question.id, question.line)
            return self._refused(question, question.bug())

    def _refused(self, question: Question, failure: Failure) -> web.Response:
        response = refuse(question, failure)
        if question.asker is not None:
            return told(question, response)
        self._audit.refused(question.visit.door, question.line, failure.message, question.id)
        return response

    async def _answer(self, question: Question) -> web.StreamResponse:
        http, entered = question.http, question.entered
        asker = question.asker = entered.asker if entered is not None else self._asker(question)
        check_head(http)
        self._check_manners(question)
        if given := http.headers.get(REQUEST_ID):
            question.id = parse_request_id(given)
        if entered is not None and entered.request_id:
            question.id = entered.request_id
        fields.with_fields(question.fields({}))
        if question.protocol is not None:
            return await self._protocols.answer(question, question.protocol, asker)
        question.page = self.pages.known.get(question.path)
        if question.page is not None:
            return await self._show(question, question.page, asker)
        question.entry, in_path = self._table.find(question.method, question.path)
        fields.with_fields(question.fields(in_path))
        check_scope(asker, question.entry.route, f"{question.method} {question.path}")
        request = await self._request(question, question.entry, in_path)
        check_reach(asker, question.entry.route, request)
        question.callback = question.callback or request.callback()
        if question.callback:
            check_callback(self._dispatcher, question.callback, question.entry.route, type(request))
        if entered is not None:
            await entered.spend()
        self.tally.begins(name := question.name)
        try:
            return await self._do(question, question.entry, request, asker)
        finally:
            self.tally.ends(name)

    def _asker(self, question: Question) -> Asker:
        """Raises Unauthenticated."""
        shown = question.http.headers.getall("Authorization", ())
        return self._admission.asker(question.visit, shown, basic=question.protocol is not None)

    def _check_manners(self, question: Question) -> None:
        http, door = question.http, question.visit.door
        own_names = self._own_names if door == "loopback" else None
        link = http.method == "GET" and harmless(http.rel_url.raw_path)
        by_token = "Authorization" in http.headers and question.entered is None
        # By TLS a browser gets here by no name but the certificate's, and sends nothing that git's paths take.
        program = by_token or (door.startswith("TLS") and question.protocol is not None)
        check_manners(http.headers, own_names, link=link, shown=program)

    async def _request(self, question: Question, entry: Entry, in_path: dict[str, str]) -> Request[Any]:
        """What is asked, read out of path, query and body; in which form, and what goes with it."""
        http = question.http
        question.form = parse_accept(http.headers.get("Accept", ""))
        query = dict(question.query)
        if len(query) != len(question.query):
            raise Invalid("the query says something twice")
        question.follow = entry.route.mutates and _truth(query.pop("follow", ""))
        if question.follow:
            question.seen = steps_of(take_cursor(http.headers, query))
        if stream_item(answer_type(entry.request)) is not None:
            if cursor := take_cursor(http.headers, query):
                query["after"] = cursor
            if question.form is Form.SSE and {"follow", "timeout", "until"}.isdisjoint(map(str.lower, query)):
                query["follow"] = "true"  # whoever listens so comes back when it ends
        question.callback = take_callback(http.headers, query)
        if question.entered is not None:
            body = question.entered.body
        elif entry.request.archive and not wants_session(http):
            body = b""  # the session reads it
        else:
            body = await read_body(http)
        request = parse(entry.request, in_path, query, body)
        question.told = request.told()
        return request

    async def _do(
        self, question: Question, entry: Entry, request: Request[Any], asker: Asker
    ) -> web.StreamResponse:
        answer = answer_type(entry.request)
        if answer is Session:
            return await self._sessions.hold(question, request, asker)
        if entry.route.mutates:
            return await perform(self._dispatcher, self._writer, question, request, asker)
        item = stream_item(answer)
        if item is not None:
            items = self._dispatcher.stream(request, asker)
            return await stream(self._writer, question, items, file=item is Piece)
        return respond_whole(question, await self._dispatcher.ask(request, asker))

    async def _show(self, question: Question, page: PageEntry, asker: Asker) -> web.StreamResponse:
        method = question.http.method
        if method not in ("GET", "HEAD"):
            raise WrongMethod(method, page.path, ("GET", "HEAD"))
        if not asker.may(page.scope):
            raise Denied(f"{asker.name} may not {method} {page.path}", hint=f"it takes scope {page.scope}")
        return respond(question, 200, page.type, await self.pages.body(page), HEADERS)

    def measures(self) -> list[Measure]:
        return [
            single("geard_requests_running", "Changes being worked on.", self._dispatcher.running),
            single("geard_requests_running_max", "The most there may be; then it is 503.", RUNNING_LIMIT),
            single(
                "geard_requests_queued", "Of those running, that wait for their turn.", self._dispatcher.queued
            ),
            single("geard_sessions_open", "Programs run in gears for somebody.", self._sessions.open),
            single("geard_streams_open", "Logs and the like that are being followed.", self._open_streams()),
        ]

    def _open_streams(self) -> int:
        streams = [e for e in self._table.entries if stream_item(answer_type(e.request)) is not None]
        return sum(self.tally.open[entry.method, entry.route.path] for entry in streams)


def _truth(text: str) -> bool:
    return text.lower() in ("1", "true", "yes")
