"""The request by which a certificate is renewed: a room's, which no floor knows by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geard.request import Request

_makers: list[Callable[[str], Request[Any]]] = []


def renews_by(make: Callable[[str], Request[Any]]) -> None:
    """The room that has it registers `make(csr)` here."""
    _makers[:] = [make]


def renewal(csr: str) -> Request[Any]:
    return _makers[0](csr)
