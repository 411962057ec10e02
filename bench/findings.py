"""What a part of the bench brings back, and the statistics of it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Findings:
    samples: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """milliseconds, in the order they were measured"""
    facts: dict[str, float] = field(default_factory=dict[str, float])
    notes: list[str] = field(default_factory=list[str])

    def sample(self, name: str, seconds: float) -> None:
        self.samples.setdefault(name, []).append(seconds * 1_000)

    def add(self, other: Findings, prefix: str = "") -> None:
        for name, values in other.samples.items():
            self.samples.setdefault(prefix + name, []).extend(values)
        self.facts |= {prefix + name: value for name, value in other.facts.items()}
        self.notes += other.notes

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def parse_findings(text: str) -> Findings:
    return Findings(**json.loads(text))


def p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """The nearest rank; of fewer than 100 values that is the largest."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def load() -> float:
    """How many processes of the whole machine wanted a core in the last minute."""
    return float(Path("/proc/loadavg").read_text().split()[0])
