"""The agent's work without the agent: what a `gear` on this machine does its requests with."""

from __future__ import annotations

from typing import Any

from geard import catalog
from geard.dispatch.dispatcher import Dispatcher
from geard.dispatch.operation import operation_for
from geard.host import Host
from geard.request import ROOT_HERE, Follow, Request


class LocalPerformer:
    def __init__(self, host: Host) -> None:
        self._dispatcher = Dispatcher(host, catalog.load())

    async def answer(self, request: Request[Any], id: str, follow: Follow | None) -> Any:
        kind = type(request)
        if operation_for(kind).streams:
            return self._dispatcher.stream(request, ROOT_HERE)
        if kind.route is not None and not kind.route.mutates:
            return await self._dispatcher.ask(request, ROOT_HERE)
        running = self._dispatcher.perform(request, ROOT_HERE, id, lasting=follow is not None)
        answer = await running.answer()
        if follow is not None:
            follow(answer)
        async for step in running.report():
            if follow is not None:
                follow(step)
        return answer
