"""Carrying a request to where it is done, and its answer back. A transport has one method."""

from __future__ import annotations

from typing import Protocol, TypeVar

from geard.request import Follow, Request

R = TypeVar("R")


class Transport(Protocol):
    def send(self, request: Request[R], *, follow: Follow | None = None) -> R:
        """The answer; a Stream for a streaming request.

        With `follow`, returns only when the report behind a mutating request has ended, and has called
        `follow` with each step. Raises the Failure the request met, on either side of the line.
        """
        ...
