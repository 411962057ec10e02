"""HTTP that is no request of geard's: a room's answers to a protocol of others (its door `protocol.py`).

The daemon knows who asks; the room says whether they may, and what is answered, in the words of that protocol.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from geard.failures import Denied
from geard.request import Asker, Scope

NOBODY = Asker("somebody", frozenset())


@dataclass(frozen=True)
class Ask:
    method: str
    path: str
    """as it came, nothing decoded"""
    query: Mapping[str, str]
    range: str = ""
    """the Range header"""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """their names in small letters"""
    body: Callable[[], AsyncGenerator[bytes]] | None = None
    """what is sent, as it comes and no faster than it is taken"""
    asker: Asker = NOBODY
    source: str = ""
    """where they come from, as the journal has it"""

    def check_scope(self, scope: Scope) -> None:
        """Raises Denied."""
        if not self.asker.may(scope):
            raise Denied(f"{self.asker.name} may not ask for {self.path[:300]}", hint=f"it takes scope {scope}")


@dataclass(frozen=True)
class Plain:
    """An answer. With `pieces` its body is these, read in a thread, `length` bytes of them; with `output` what a
    program says, as it comes.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    pieces: Callable[[], Iterator[bytes]] | None = None
    length: int = 0
    output: AsyncGenerator[bytes] | None = None
