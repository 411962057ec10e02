"""A question: one HTTP request on its way to an answer, and what is known of it so far."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

from aiohttp import web
from multidict import MultiMapping
from yarl import URL

from geard.daemon.admission import Visit
from geard.daemon.forms import Form
from geard.daemon.table import Entry, PageEntry
from geard.daemon.tally import OTHER, Name
from geard.dispatch.entered import Entered
from geard.failures import Bug
from geard.host import fields
from geard.request import Asker
from geard.transport.wire import REQUEST_ID


@dataclass
class Question:
    """What is not known yet is empty."""

    http: web.BaseRequest
    visit: Visit
    id: str
    protocol: ModuleType | None = None
    """of others, in whose words it is answered"""
    asker: Asker | None = None
    entry: Entry | None = None
    form: Form = Form.PLAIN
    page: PageEntry | None = None
    follow: bool = False
    """whether the report is asked for, behind the answer"""
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

    def bug(self) -> Bug:
        """What the asker is told of an exception that nobody foresaw."""
        return Bug(f"geard met a bug of its own; the journal knows it as request {self.id}")
