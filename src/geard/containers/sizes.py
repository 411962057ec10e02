"""Amounts of memory, read and shown. Pure."""

from __future__ import annotations

import re

from geard.failures import Invalid

_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([bkmgt]?)i?b?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """Bytes: `512m`, `1.5G`, `64MiB`, `0`. Raises Invalid."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise Invalid(f"{text!r} is no amount of memory", hint="such as 256m or 1.5g")
    return int(float(found[1]) * _SIZES[found[2].lower()])


def show_size(size: int) -> str:
    """Bytes for people: exact where one unit says it, else to a tenth."""
    for unit, factor in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if size >= factor:
            return f"{size // factor}{unit}" if size % factor == 0 else f"{size / factor:.1f}{unit}"
    return f"{size}B"
