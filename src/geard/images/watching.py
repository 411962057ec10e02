"""Several pulls at once: on a terminal a line for each, redrawn; elsewhere one line when each has ended."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Sequence
from functools import partial

import click

from geard.cli.asking import ask_places, session, tell
from geard.cli.output import printable
from geard.failures import Failure, Invalid
from geard.identifiers import Place
from geard.images.requests import Pulled, PullImage
from geard.request import Answer, Progress


class Lines:
    """What is said last of each, on a terminal; what came of each stays above."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}
        self._drawn = 0
        self._live = sys.stderr.isatty()

    def say(self, key: str, text: str) -> None:
        with self._lock:
            self._lines[key] = text
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
        if self._live and self._drawn:
            click.echo(f"\x1b[{self._drawn}A\x1b[J", err=True, nl=False)
        self._drawn = 0

    def _draw(self) -> None:
        if not self._live:
            return
        self._clear()
        width = shutil.get_terminal_size().columns - 1
        for text in self._lines.values():
            click.echo(printable(text)[:width], err=True)
        self._drawn = len(self._lines)


def pull_all(where: Sequence[Place], images: Sequence[str], engine: str, *, wait: bool) -> None:
    """Every image at every place, side by side. Raises Invalid."""
    many = len(where) > 1 or bool(str(where[0]))
    if session.request_id and len(images) > 1:
        raise Invalid("one request id for several images", hint="one image at a time, or no --request-id")
    if not wait:
        for image in images:
            for place, answer in ask_places(where, partial(_wish, image, engine)):
                click.echo(f"{str(place) + ': ' if many else ''}{answer.text()}")
        return
    lines = Lines()
    each = [(place, image) for place in where for image in dict.fromkeys(images)]
    for place in where:
        if session.in_process(place):
            session.transport(place)  # one for all, made once
    threads = [threading.Thread(target=_pull, args=(*one, engine, lines, many), daemon=True) for one in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _wish(image: str, engine: str, at: Place) -> PullImage:
    return PullImage(image=image, engine=engine)


def _pull(place: Place, image: str, engine: str, lines: Lines, many: bool) -> None:
    prefix, key = f"{place}: " if many else "", f"{place}/{image}"
    ended = False

    def follow(step: Answer) -> None:
        nonlocal ended
        if isinstance(step, Progress):
            if step.result:
                ended = True
                lines.end(key, prefix + step.text())
            else:
                lines.say(key, prefix + step.text())
        elif isinstance(step, Pulled):
            lines.say(key, prefix + step.text())

    session.changes = True
    try:
        session.transport(place).send(PullImage(image=image, engine=engine), follow=follow)
        if not ended:
            lines.end(key, "")
    except Failure as failure:
        lines.fail(key, failure, str(place) if many else "")
