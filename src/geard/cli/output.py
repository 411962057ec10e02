"""What is printed: tables for people, `-o json|yaml|name|wide` for everyone else. Progress goes to stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

import click

from geard.words import Word, builtins_of

Form = Literal["table", "wide", "json", "yaml", "name", "text"]
F = TypeVar("F", bound=Callable[..., Any])


def output_option(command: F) -> F:
    """Adds `-o/--output`, passed on as `form`."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(["table", "wide", "json", "yaml", "name"]),
        default="table",
        help="How to print it.",
    )(command)


def outcome_option(command: F) -> F:
    """Adds `-o/--output` to a verb that changes something, passed on as `form`."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(["text", "json", "yaml", "name"]),
        default="text",
        help="How to print what came of it.",
    )(command)


def structured(values: object, form: str) -> None:
    """Print JSON or YAML."""
    if form == "yaml":
        import yaml  # noqa: PLC0415 - only who asks for YAML pays for it

        click.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), nl=False)
        return
    click.echo(json.dumps(values, indent=2, ensure_ascii=False))


def with_place(word: Word, place: str) -> dict[str, Any]:
    """The word as JSON's own values, with the machine it came from."""
    values: dict[str, Any] = builtins_of(word)
    return {**values, "Server": place} if place else values


def print_list(
    found: Sequence[tuple[str, Word]],
    form: str,
    names: Iterable[str],
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
) -> None:
    """Print things of several machines, each with its own; `names` are those for `-o name`."""
    if form == "name":
        click.echo("".join(f"{name}\n" for name in names), nl=False)
    elif form in ("json", "yaml"):
        structured([with_place(word, place) for place, word in found], form)
    else:
        click.echo(table(header, list(rows)))


def placed(place: str, id: str) -> str:
    return f"{place}/{id}" if place else id


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, the last one ragged. Control characters are shown, never sent to the terminal."""
    lines = [tuple(header), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def printable(text: str) -> str:
    """`text` without what would act on a terminal: names and labels come from hostile hands."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
