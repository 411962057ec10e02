"""Carrying a request to where it is done, and its answer back. A transport has one method."""

from __future__ import annotations

from typing import Protocol, TypeVar

from geard.failures import Unavailable
from geard.request import Follow, Request

R = TypeVar("R")


class ConnectionBroken(Unavailable):
    """The other side was there and is not any more: it may be again in a moment."""

    @property
    def kind(self) -> str:
        return "Unavailable"


class Transport(Protocol):
    def send(self, request: Request[R], *, follow: Follow | None = None) -> R:
        """The answer; a Stream for a streaming request.

        With `follow`, returns only when the report behind a mutating request has ended, and has called
        `follow` with each step. Raises the Failure the request met, on either side of the line.
        """
        ...
