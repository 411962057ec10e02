"""Several pulls at once: on a terminal a line for each, redrawn; elsewhere a line now and then."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import click

from geard.cli.asking import ask_places, session, tell
from geard.cli.output import printable, structured, with_place
from geard.failures import Failure, Invalid
from geard.identifiers import Place
from geard.images.requests import ListPulls, Pulled, PullImage, UnderWay
from geard.images.sizes import show_bytes
from geard.request import Answer, Progress

LOOK_SECONDS = 0.3
LONGEST = 40
"""characters of a bar"""


def bar(label: str, done: int, total: int, width: int) -> str:
    """`label  [=====>     ] 7.4 MB / 38 MB`, the bar as wide as there is room. Pure."""
    counts = f"{show_bytes(done)} / {show_bytes(total)}"
    room = min(width - len(label) - len(counts) - 5, LONGEST)
    if room < 5:
        return f"{label}  {counts}"[:width]
    full = room * min(done, total) // total
    drawn = "=" * full if full == room else f"{'=' * full}>".ljust(room)
    return f"{label}  [{drawn}] {counts}"


class Lines:
    """What is said last of each, on a terminal; what came of each stays above. If `quiet`, that alone."""

    def __init__(self, *, quiet: bool) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}
        self._measured: dict[str, tuple[str, UnderWay]] = {}
        self._drawn = 0
        self.quiet = quiet
        self.live = sys.stderr.isatty() and not quiet

    def say(self, key: str, text: str) -> None:
        with self._lock:
            self._lines[key] = text
            if not self.live and not self.quiet:
                click.echo(printable(text), err=True)
            self._draw()

    def measure(self, key: str, label: str, far: UnderWay) -> None:
        with self._lock:
            if key in self._lines and far.total and self._measured.get(key, ("", None))[1] != far:
                self._measured[key] = label, far
                self._draw()

    def end(self, key: str, text: str) -> None:
        """`text` for standard output; empty for none."""
        with self._lock:
            self._lines.pop(key, None)
            self._clear()
            if text:
                click.echo(text)
            self._draw()

    def fail(self, key: str, failure: Failure, about: str) -> None:
        with self._lock:
            self._lines.pop(key, None)
            self._clear()
            tell(failure, about)
            self._draw()

    def _clear(self) -> None:
        if self.live and self._drawn:
            click.echo(f"\x1b[{self._drawn}A\x1b[J", err=True, nl=False)
        self._drawn = 0

    def _draw(self) -> None:
        if not self.live:
            return
        self._clear()
        size = shutil.get_terminal_size()
        width, drawn = size.columns - 1, ""
        shown = list(self._lines.items())[: max(1, size.lines - 1)]
        for key, text in shown:
            label, far = self._measured.get(key, ("", None))
            drawn += (bar(printable(label), far.done, far.total, width) if far else printable(text)[:width]) + "\n"
        click.echo(drawn, err=True, nl=False)
        self._drawn = len(shown)


def pull_all(where: Sequence[Place], wishes: Sequence[PullImage], *, wait: bool, quiet: bool, form: str) -> None:
    """Every image at every place, side by side; for programs what came of each that came. Raises Invalid."""
    many = len(where) > 1 or bool(str(where[0]))
    if session.request_id and len(wishes) > 1:
        raise Invalid("one request id for several images", hint="one image at a time, or no --request-id")
    rows: dict[tuple[Place, PullImage], dict[str, Any]] = {}
    each = [(place, wish) for place in where for wish in wishes]
    if not wait:
        for wish in wishes:
            for place, answer in ask_places(where, partial(_wish, wish)):
                rows[place, wish] = with_place(answer, str(place))
                if form == "text":
                    click.echo(f"{str(place) + ': ' if many else ''}{answer.text()}")
    else:
        _wait_for_all(where, each, Lines(quiet=quiet or form != "text"), many, rows if form != "text" else None)
    came = [rows[one] for one in each if one in rows]
    if form == "name":
        click.echo("".join(f"{row['Image']}\n" for row in came), nl=False)
    elif form != "text":
        structured(came, form)


def _wait_for_all(
    where: Sequence[Place],
    each: Sequence[tuple[Place, PullImage]],
    lines: Lines,
    many: bool,
    rows: dict[tuple[Place, PullImage], dict[str, Any]] | None,
) -> None:
    for place in where:
        if session.in_process(place):
            session.transport(place)  # one for all, made once
    threads = [threading.Thread(target=_pull, args=(*one, lines, many, rows), daemon=True) for one in each]
    ended = threading.Event()
    watching = [threading.Thread(target=_watch, args=(place, lines, many, ended), daemon=True) for place in where]
    for thread in (*threads, *(watching if lines.live else ())):
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()


def _wish(wish: PullImage, at: Place) -> PullImage:
    return wish


def _watch(place: Place, lines: Lines, many: bool, ended: threading.Event) -> None:
    """How far they are at a place; nothing of that where it does not know."""
    with suppress(Failure):
        while not ended.wait(LOOK_SECONDS):
            for far in session.transport(place).send(ListPulls()).pulls:
                lines.measure(f"{place}/{far.image}", f"{place}: {far.image}" if many else far.image, far)


def _pull(
    place: Place,
    wish: PullImage,
    lines: Lines,
    many: bool,
    rows: dict[tuple[Place, PullImage], dict[str, Any]] | None,
) -> None:
    """What came of it goes to standard output, or into `rows` where there are some."""
    prefix, key = f"{place}: " if many else "", f"{place}/{wish.image}"
    ended = False

    def follow(step: Answer) -> None:
        nonlocal ended, key
        if isinstance(step, Progress):
            if step.result:
                ended = True
                if rows is None:
                    lines.end(key, prefix + step.text())
                else:
                    rows[place, wish] |= {"Phase": step.phase, "Message": step.message}
            elif step.phase == "pulling" or lines.live:
                lines.say(key, prefix + step.text())
        elif isinstance(step, Pulled):
            key = f"{place}/{step.image}"
            if rows is not None:
                rows[place, wish] = with_place(step, str(place))

    session.changes = True
    try:
        session.transport(place).send(wish, follow=follow)
        if not ended:
            lines.end(key, "")
    except Failure as failure:
        if rows is not None:
            rows.pop((place, wish), None)
        lines.fail(key, failure, str(place) if many else "")
