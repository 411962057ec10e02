"""What gear-wake wrote down of a wake, read. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from geard.idling.requests import WakeStep, WakeTime

STEPS = {
    "thawed": "the waker had it go on",
    "asked": "gear-wake had it",
    "prepared": "systemd had begun, and all was laid out for the engine",
    "created": "the engine had made its container",
    "running": "the runtime had made its processes and namespaces",
    "begun": "the engine had its program begin, in the container that was kept ready",
    "listens": "the program listened, in a network that was set up: the packet went on",
}


def parse_woken(id: str, text: str) -> WakeTime | None:
    """None where there is nothing, or only part of it."""
    words = dict(word.split("=", 1) for word in text.split() if "=" in word)
    try:
        at = datetime.fromtimestamp(float(words["at"]), UTC).isoformat(timespec="milliseconds")
        steps = [WakeStep(name=name, ms=float(words[name])) for name in STEPS if name in words]
        steps.sort(key=lambda step: step.ms)  # docker's two of a start come within one tick of the files' clock
        return WakeTime(id=id, at=at, port=int(words["port"]), steps=tuple(steps))
    except (KeyError, ValueError, OverflowError):
        return None
