"""Figures about a machine, for `/metrics`: what a room counts, in the words of Prometheus.

A room that has some has a `metrics.py` with `async def measure(host) -> Sequence[Measure]`. It is asked at every
scrape, so it costs the same whether there are ten gears or a thousand: no question to systemd or the engine for
each. Labels have few values: never an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Measure:
    name: str
    """as prometheus.io/docs/practices/naming has it; a counter's ends in _total"""
    about: str
    values: Mapping[str, float]
    """by the value of `label`; by an empty text where there is none"""
    label: str = ""
    kind: Literal["gauge", "counter"] = "gauge"


def single(name: str, about: str, value: float, kind: Literal["gauge", "counter"] = "gauge") -> Measure:
    return Measure(name, about, {"": value}, kind=kind)
