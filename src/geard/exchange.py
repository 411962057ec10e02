"""What goes both ways once a request has become a session: a program's input and output, its signals, its end.

    class ExecInContainer(Request[Session]):
        route = Route("POST", "/container/{id}/exec")

Whoever sends such a request holds a `Session`. Its operation checks what there is to check, which can still fail
as any operation may, and returns a `Talk`: what it then does with the asker's `Line`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from geard.failures import Failure

SIGNALS = ("INT", "QUIT", "TERM", "USR1", "USR2")
"""those an asker may send; one who leaves ends the program anyway"""


@dataclass(frozen=True)
class Size:
    """Of the asker's terminal, in characters."""

    rows: int
    columns: int


@dataclass(frozen=True)
class Input:
    data: bytes


@dataclass(frozen=True)
class InputEnd:
    """There is no more input."""


@dataclass(frozen=True)
class Signal:
    name: str
    """one of SIGNALS"""


@dataclass(frozen=True)
class Output:
    data: bytes


@dataclass(frozen=True)
class Errors:
    """What the program wrote to its standard error."""

    data: bytes


@dataclass(frozen=True)
class Taken:
    """So many more bytes of input were taken: that many may follow. A line begins with WINDOW of them allowed.

    Input that a program does not read must not stand before the signal that ends it.
    """

    count: int


@dataclass(frozen=True)
class Exit:
    """The program has ended; nothing follows."""

    status: int


@dataclass(frozen=True)
class Failed:
    """The session has ended otherwise; nothing follows."""

    failure: Failure


WINDOW = 256 * 1024
"""bytes of input that may be on their way"""

FromAsker = Input | InputEnd | Size | Signal
ToAsker = Output | Errors | Taken | Exit | Failed


class Session(Protocol):
    """A session as its asker holds it. It never blocks: `fileno` is for select(2)."""

    def fileno(self) -> int: ...

    @property
    def waiting(self) -> bool:
        """Whether something that was said waits for the line to take it: `hear` when it is writable then."""
        ...

    def say(self, event: FromAsker) -> None: ...

    def hear(self) -> list[ToAsker]:
        """What has come; Exit or Failed is the last. Raises Unavailable where the line broke before that."""
        ...

    def close(self) -> None:
        """Leave: what still runs is ended."""
        ...


class Line(Protocol):
    """The way to an asker. When they leave, the talk is cancelled: nothing here fails for that."""

    async def hear(self) -> FromAsker: ...

    async def say(self, event: ToAsker) -> None:
        """Waits while the asker reads more slowly than this is said."""
        ...


Talk = Callable[[Line], Awaitable[int]]
"""Ends with the program's exit status, or raises a Failure. Cancelled, it leaves nothing running."""
