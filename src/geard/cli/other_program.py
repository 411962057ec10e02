"""Verbs whose exit code is that of the program they run, so that their own failures are all one code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from geard.cli.asking import tell
from geard.failures import Failure

OWN_FAILURE = 125
"""of geard or the engine, as podman has it; 126 and 127 come from the engine, the rest from the program"""


class OtherProgram(click.Command):
    """A verb whose exit code is that of the program it runs: its own failures are all one code."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except click.UsageError as error:
            error.show(sys.stderr)
            raise click.exceptions.Exit(OWN_FAILURE) from None


def own_failures(command: Callable[..., int]) -> Callable[..., int]:
    @wraps(command)
    def run(**given: Any) -> int:
        try:
            return command(**given)
        except Failure as failure:
            tell(failure)
            return OWN_FAILURE

    return run
