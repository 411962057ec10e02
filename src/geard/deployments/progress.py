"""What a person sees of a run: one line for each gear, its phases and how long each took."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from geard.cli.output import printable

Key = tuple[str, str]
"""id, host"""


@dataclass
class Line:
    phase: str = ""
    began: float = 0.0
    step: str = ""
    done: list[str] = field(default_factory=list[str])
    """phases that have ended, with their times"""
    done_as: str = ""
    """what has been of the phase, where it is not what was expected"""
    settled: bool = False
    failed: str = ""

    def text(self, now: float) -> str:
        words = [*self.done]
        if self.failed:
            words.append(f"FAILED: {self.failed}")
        elif self.phase and not self.settled:
            words.append(f"{self.phase} {now - self.began:.1f} s" + (f" ({self.step})" if self.step else ""))
        return ", ".join(words) or "waits"


class Lines:
    """Told from many threads. On a terminal all lines are drawn again as they change; else each is printed once,
    when nothing more happens to its gear.
    """

    def __init__(self, keys: Sequence[Key], *, quiet: bool = False) -> None:
        self._lines = {key: Line() for key in keys}
        self._lock = threading.Lock()
        self._drawn = 0
        self._quiet = quiet
        room = shutil.get_terminal_size((100, 24)).lines - 2
        self._live = not quiet and sys.stderr.isatty() and 0 < len(keys) <= room
        self._width = max((len(self._name(key)) for key in keys), default=0)

    @contextmanager
    def phase(self, key: Key, phase: str, done: str, *, last: bool = False) -> Generator[Line]:
        """`phase` is what is being done, `done` what then has been; `last` where nothing more comes."""
        line, began = self._lines[key], time.monotonic()
        with self._lock:
            line.phase, line.began, line.step, line.done_as = phase, began, "", ""
            self._draw()
        yield line
        took = time.monotonic() - began
        with self._lock:
            line.done.append(f"{line.done_as or done} {took:.1f} s")
            line.settled = last
            self._draw()
            if last:
                self._print(key)

    def step(self, key: Key, text: str) -> None:
        with self._lock:
            self._lines[key].step = text
            self._draw()

    def fail(self, key: Key, why: str) -> None:
        with self._lock:
            line = self._lines[key]
            line.failed, line.settled = why.partition("\n")[0], True
            self._draw()
            self._print(key)

    def done(self, key: Key) -> list[str]:
        return list(self._lines[key].done)

    def _name(self, key: Key) -> str:
        return f"{key[0]} on {key[1]}"

    def _text(self, key: Key) -> str:
        return printable(f"{self._name(key):{self._width}}  {self._lines[key].text(time.monotonic())}")

    def _print(self, key: Key) -> None:
        if not self._live and not self._quiet:
            click.echo(self._text(key))

    def _draw(self) -> None:
        if not self._live:
            return
        width = shutil.get_terminal_size((100, 24)).columns - 1
        up = f"\033[{self._drawn}A" if self._drawn else ""
        text = "".join(f"\033[2K{self._text(key)[:width]}\n" for key in self._lines)
        sys.stderr.write(up + text)
        sys.stderr.flush()
        self._drawn = len(self._lines)
