"""Bytes and times for people. Pure."""

from __future__ import annotations

from datetime import datetime


def show_bytes(size: int) -> str:
    """As registries count: 1 kB is 1000 bytes."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}" if size < 10 * factor else f"{size // factor} {unit}"
    return f"{size} B"


def show_age(then: str, now: datetime) -> str:
    """How long ago an RFC 3339 time was, in its largest unit; empty for what is no time."""
    try:
        seconds = (now - datetime.fromisoformat(then)).total_seconds()
    except (ValueError, TypeError):
        return ""
    for unit, length in (("years", 31_557_600), ("months", 2_629_800), ("days", 86_400), ("hours", 3_600)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds // 60))} minutes"
