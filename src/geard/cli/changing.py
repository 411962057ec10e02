"""A change of one or several gears, and what came of each: as text, or for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from geard.cli.asking import ask
from geard.cli.output import structured, with_place
from geard.identifiers import Locator
from geard.request import Answer, Progress, Request

A = TypeVar("A", bound=Answer)
More = Callable[[Locator, Answer], dict[str, Any]]


def change(
    targets: Sequence[Locator],
    make: Callable[[Locator], Request[A]],
    no_wait: bool,
    form: str,
    *,
    announce: bool = False,
    always: bool = False,
    more: More | None = None,
) -> None:
    """Ask for a change of each target and say what came of it; the answer too where nothing else is said.

    `more` finds what programs are told that the answer could not say yet.
    """
    follow = not no_wait
    if form == "text":
        for target, answer in ask(targets, make, follow=follow, announce=announce):
            if no_wait or always:
                say(target if len(targets) > 1 and not always else None, answer.text())
        return
    outcomes: dict[Locator, Progress] = {}
    rows: list[dict[str, Any]] = []
    for target, answer in ask(targets, make, follow=follow, outcomes=outcomes):
        if form == "name":
            click.echo(str(target))
        came = outcomes.get(target)
        row = with_place(answer, str(target.at))
        if came is not None:
            row |= {"Phase": came.phase, "Message": came.message}
        if follow and more is not None:
            row |= more(target, answer)
        rows.append(row)
    if form != "name":
        structured(rows, form)


def say(target: Locator | None, text: str) -> None:
    """Print an answer, each line with its target where there are several."""
    for line in text.splitlines():
        click.echo(f"{target}: {line}" if target is not None else line)
