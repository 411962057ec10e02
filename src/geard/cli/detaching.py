"""Keys by which somebody at a terminal leaves a program that goes on without them, as docker's and podman's."""

from __future__ import annotations

import re

from geard.failures import Invalid

USUAL = "ctrl-p,ctrl-q"
_KEY = re.compile(r"[!-+\--~]|ctrl-[a-zA-Z@\[\\\]^_]", re.ASCII)


def parse_keys(text: str) -> bytes:
    """What the terminal sends for "ctrl-p,ctrl-q"; nothing for "". Raises Invalid."""
    keys = text.split(",") if text else []
    for key in keys:
        if not _KEY.fullmatch(key):
            raise Invalid(
                f"{key!r} in {text!r} is no key to leave by",
                hint=f"--detach-keys {USUAL}; a, ctrl-a …; '' for none",
            )
    return bytes(ord(key[-1].upper()) & 0x1F if len(key) > 1 else ord(key) for key in keys)


class Keys:
    """Watches what is typed for a sequence of keys, however it is cut in pieces."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._held = b""
        """typed, and so far the beginning of it"""

    def take(self, data: bytes) -> tuple[bytes, bool]:
        """What is for the program, and whether the keys have come: then what is behind them is nobody's."""
        if not self._sequence:
            return data, False
        all_ = self._held + data
        before, found, _ = all_.partition(self._sequence)
        if found:
            self._held = b""
            return before, True
        most = min(len(all_), len(self._sequence) - 1)
        held = next((n for n in range(most, 0, -1) if all_.endswith(self._sequence[:n])), 0)
        self._held = all_[len(all_) - held :]
        return all_[: len(all_) - held], False
