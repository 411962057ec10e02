"""Lengths of time as people write them. Pure."""

from __future__ import annotations

import re

from geard.failures import Invalid

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|)", re.ASCII)


def parse_span(text: str) -> float:
    """Seconds: 90, 1.5h, 1h30m. Raises Invalid."""
    at, found = 0, 0.0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            break
        found += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    if not text.strip() or at < len(text):
        raise Invalid(f"{text!r} is no length of time", hint="such as 90 (seconds), 10m, 2h, 1h30m; 0 for none")
    return found
