"""The agent's work without the agent: what a `gear` on this machine does its requests with."""

from __future__ import annotations

import os
from typing import Any

from geard import catalog
from geard.daemon.ways import reach_peers
from geard.dispatch.dispatcher import Dispatcher
from geard.dispatch.operation import find_operations, operation_for
from geard.exchange import Session
from geard.failures import Failure
from geard.host import Host, fields
from geard.host.journal_writing import IDENTIFIER
from geard.identifiers import new_request_id
from geard.request import ROOT_HERE, Follow, Request, answer_type

SWEEP_EVERY = 64
"""Where no agent runs, about one command in so many removes records whose time is over."""


class LocalPerformer:
    def __init__(self, host: Host) -> None:
        reach_peers()
        find_operations(catalog.load_operations)  # loading all takes as long as doing one
        self._dispatcher = Dispatcher(host, catalog.facets())
        self._journal = host.journal

    async def answer(self, request: Request[Any], id: str, follow: Follow | None) -> Any:
        kind = type(request)
        if answer_type(kind) is Session:
            return await self._dispatcher.ask(request, ROOT_HERE)
        if operation_for(kind).streams:
            return self._dispatcher.stream(request, ROOT_HERE)
        if kind.route is not None and not kind.route.mutates:
            return await self._dispatcher.ask(request, ROOT_HERE)
        id = id or new_request_id()
        try:
            try:
                running = self._dispatcher.perform(request, ROOT_HERE, id, lasting=follow is not None)
                answer = await running.answer()
            except Failure as failure:
                self._tell(request, id, failure)
                raise
            self._tell(request, id, None)
            if follow is not None:
                follow(answer)
            async for step in running.report():
                if follow is not None:
                    follow(step)
        finally:
            await self._dispatcher.put_away(sweep=os.urandom(1)[0] < 256 // SWEEP_EVERY)
        return answer

    def _tell(self, request: Request[Any], id: str, failure: Failure | None) -> None:
        """The line in the journal that the agent would write. Where no journal is kept, there is none."""
        kind, named = type(request), str(getattr(request, "id", ""))
        outcome = failure.kind if failure is not None else "accepted"
        asked = f"{kind.__name__} {named}".rstrip()
        about = {fields.KIND: failure.kind} if failure is not None else {}
        if kind.route is not None:
            about |= {fields.ROUTE: f"{kind.route.method} {kind.route.path}"}
            about |= fields.about(kind.route.path, named)
        elif named:
            about |= {fields.GEAR: named}
        self._journal.tell(
            {
                "MESSAGE": f"{ROOT_HERE.name}, terminal: {asked} [{id}] {outcome}",
                "PRIORITY": "6",
                "SYSLOG_IDENTIFIER": IDENTIFIER,
                fields.REQUEST_ID: id,
                fields.ASKER: ROOT_HERE.name,
                fields.DOOR: "terminal",
                fields.REQUEST: kind.__name__,
                **about,
            }
        )
