"""Variables as somebody at a terminal gives them: files of NAME=VALUE lines."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click

from geard.environments.file import check_variable, parse_lines
from geard.failures import Invalid


def read_file(path: str) -> dict[str, str]:
    """The variables in a file of NAME=VALUE lines, `-` for standard input. Raises Invalid."""
    try:
        text = _standard_input() if path == "-" else Path(path).read_bytes().decode()
    except OSError as error:
        raise Invalid(f"cannot read the environment file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Invalid(
            f"cannot read the environment file {path}: it is no UTF-8: {error.reason} at byte {error.start}"
        ) from None
    bad: list[str] = []
    found = parse_lines(text, bad)
    for name in bad:
        click.echo(f"{path}: passed over {name!r}, which cannot name a variable", err=True)
    for name, value in found.items():
        check_variable(name, value)
    return found


def _standard_input() -> str:
    buffer: io.BufferedIOBase | None = getattr(sys.stdin, "buffer", None)
    return sys.stdin.read() if buffer is None else buffer.read().decode()  # as bytes: a \r in a value stays one
