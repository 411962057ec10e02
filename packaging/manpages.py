"""Man pages from the command tree: gear(1), and gear-VERB(1) for every verb, saying what `--help` says.

A verb with verbs of its own has a page for each of those too: gear-secret-create(1).

manpages.py DIRECTORY      (with geard importable)
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

EXIT_STATUS = (
    ("0", "It was done."),
    ("1", "It could not be done, or several targets failed for different reasons."),
    ("4", "Not allowed."),
    ("5", "There is no such thing."),
    ("6", "What the request depended on does not hold."),
    ("7", "Too many requests; ask again later."),
    ("8", "The wait ran out; the operation itself goes on."),
    ("64", "The request was wrong as written."),
)
FILES = (
    ("/var/lib/containers", "What is installed here: units, definitions, ports, environments, keys."),
    ("/run/geard/geard.sock", "The agent's socket, for root and members of the group geard."),
    ("/etc/geard/geard.toml", "Configuration of this machine's agent."),
)


def escape(text: str) -> str:
    """Text as roff prints it literally: no escape, no request, and a hyphen that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    text = text.replace("^", "\\(ha").replace("~", "\\(ti")
    return re.sub(r"^\.", r"\\&.", text, flags=re.MULTILINE)


def quoted(text: str) -> str:
    """One argument of a request."""
    return '"' + escape(" ".join(text.split())).replace('"', "\\(dq") + '"'


def paragraphs(help_text: str) -> Iterator[str]:
    """click's help text: paragraphs apart, \\b before one keeps its lines, \\f ends what people read."""
    text = inspect.cleandoc(help_text).partition("\f")[0].strip()
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text)):
        lines = paragraph.splitlines()
        if number:
            yield ".PP"
        if lines and lines[0].strip() == "\b":
            yield from (".nf", *(escape(line) for line in lines[1:]), ".fi")
        else:
            yield escape(" ".join(line.strip() for line in lines))


def definitions(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in pairs:
        yield ".TP"
        yield f".B {quoted(term)}"
        yield escape(" ".join(meaning.split())) or "\\&"


def verbs(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield name, command


def render(context: click.Context, version: str, date: str, others: list[str]) -> str:
    command = context.command
    page = page_of(context)
    described = (item.get_help_record(context) for item in command.get_params(context))
    options = [(term, meaning) for term, meaning in filter(None, described) if meaning]
    inner = [(name, verb.get_short_help_str(200)) for name, verb in verbs(context)]

    lines = [f'.TH {quoted(page.upper())} 1 "{date}" {quoted(f"geard {version}")} "geard"']
    lines += [".SH NAME", f"{escape(page)} \\- {escape(command.get_short_help_str(200).rstrip('.'))}"]
    lines += [".SH SYNOPSIS", f".B {quoted(context.command_path)}"]
    lines += [escape(" ".join(command.collect_usage_pieces(context)))]
    if command.help:
        lines += [".SH DESCRIPTION", *paragraphs(command.help)]
    if options:
        lines += [".SH OPTIONS", *definitions(options)]
    if inner:
        lines += [".SH COMMANDS", *definitions(inner)]
    lines += [".SH EXIT STATUS", *definitions(EXIT_STATUS)]
    if context.parent is None:
        lines += [".SH FILES", *definitions(FILES)]
    if others:
        *first, last = others
        lines += [".SH SEE ALSO", *(f".BR {quoted(other)} (1)," for other in first)]
        lines += [f".BR {quoted(last)} (1)"]
    return "\n".join(lines) + "\n"


def pages(root: click.Command, version: str, date: str) -> Iterator[tuple[str, str]]:
    """(file name, text) of every page."""
    top = click.Context(root, info_name="gear")
    names = [name for name, _ in verbs(top)]
    yield "gear.1", render(top, version, date, [*(f"gear-{name}" for name in names), "systemctl", "podman"])
    for name, command in verbs(top):
        context = click.Context(command, info_name=name, parent=top)
        inner = [click.Context(verb, info_name=word, parent=context) for word, verb in verbs(context)]
        further = [page_of(one) for one in inner]
        yield f"{page_of(context)}.1", render(context, version, date, ["gear", *further])
        for one in inner:
            yield f"{page_of(one)}.1", render(one, version, date, ["gear", page_of(context)])


def page_of(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def command_tree() -> click.Command:
    """The root command, wherever the terminal is put together."""
    for module in ("geard.__main__", "geard.cli.main"):
        for value in vars(importlib.import_module(module)).values():
            if isinstance(value, click.Group):
                return value
    raise SystemExit("manpages: neither geard.__main__ nor geard.cli.main has a click group")


def main(directory: Path) -> None:
    version: str = importlib.import_module("geard").__version__
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", "0")) or None)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages(command_tree(), version, time.strftime("%Y-%m-%d", moment)):
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
