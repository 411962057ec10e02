"""What the agent shows beside its answers: the table of routes, the API's description, figures about itself.

Pages of the program alone (`DESCRIPTION`) hold nothing of the machine; only those may be opened by a link on
another site's page (`manners`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geard.daemon.exposition import TYPE as METRICS_TYPE
from geard.daemon.exposition import Exposition
from geard.daemon.forms import JSON_TYPE, TEXT_TYPE
from geard.daemon.table import Entry, PageEntry, render_table
from geard.failures import Failure

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
STYLE = "/docs/style.css"
DESCRIPTION = (
    PageEntry("/", TEXT_TYPE, "The table of routes."),
    PageEntry("/openapi.json", JSON_TYPE, "This description."),
    PageEntry("/docs", HTML, "This description, to be read."),
    PageEntry(STYLE, CSS, "How it looks."),
)
METRICS = PageEntry("/metrics", METRICS_TYPE, "Figures for Prometheus.")
PAGES = (*DESCRIPTION, METRICS)

# Nothing but the style sheet is loaded, nothing is run, and nobody may put it into a frame.
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Pages:
    def __init__(
        self, entries: Sequence[Entry], statuses: Mapping[type[Failure], int], exposition: Exposition
    ) -> None:
        self._entries = entries
        self._statuses = statuses
        self._document: asyncio.Task[dict[str, Any]] | None = None
        self.known: Mapping[str, PageEntry] = {page.path: page for page in PAGES}
        self._render: dict[str, Callable[[], Awaitable[bytes]]] = {
            "/": self._table,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
            STYLE: self._style,
            METRICS.path: exposition.text,
        }

    async def body(self, page: PageEntry) -> bytes:
        return await self._render[page.path]()

    async def _described(self) -> dict[str, Any]:
        """Made once, in a thread: half a second."""
        if self._document is None:
            self._document = asyncio.create_task(asyncio.to_thread(self._describe))
        return await asyncio.shield(self._document)

    def _describe(self) -> dict[str, Any]:
        from geard.daemon.openapi import document  # noqa: PLC0415 - most agents are never asked for it

        return document(self._entries, PAGES, self._statuses)

    async def _table(self) -> bytes:
        return (render_table(self._entries) + "\n").encode()

    async def _openapi(self) -> bytes:
        return render_json(await self._described())

    async def _docs(self) -> bytes:
        from geard.daemon.reading import render_page  # noqa: PLC0415 - as above

        return await asyncio.to_thread(render_page, await self._described(), STYLE)

    async def _style(self) -> bytes:
        return await asyncio.to_thread(Path(__file__).with_name("docs.css").read_bytes)


def harmless(path: str) -> bool:
    """Whether it says nothing of this machine."""
    return any(page.path == path for page in DESCRIPTION)


def render_json(found: dict[str, Any]) -> bytes:
    return (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode()
