"""Who tells somebody else of a request's end. A room does it (`callbacks`); whoever is asked only hands it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from geard.dispatch.running import Running


class Callbacks(Protocol):
    def check(self, url: str) -> None:
        """Before the request is begun. Raises Invalid, Denied for no such URL, Full where too many wait."""
        ...

    async def promise(self, running: Running, url: str, what: str, asker: str, *, secret_answer: bool) -> None:
        """Before it is answered: from now on, whatever happens, `url` is told when `running` has ended.

        `what` is its method and path. Raises Conflict where the same request was promised to another URL.
        """
        ...
