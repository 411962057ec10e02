"""What the options of `gear run` and `gear cron add` say of a job."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import click

from geard.cli.attaching import terminal_size
from geard.cli.parts import LIMIT_OPTIONS, engine_option
from geard.containers.limits import parse_limits
from geard.containers.volumes import parse_volumes
from geard.environments.file import parse_argument
from geard.environments.given import read_file
from geard.failures import Invalid
from geard.jobs.spans import parse_span

_DESCRIBED = (
    click.option("-i", "--interactive", is_flag=True, help="With the standard input of this command."),
    click.option("-t", "--tty", is_flag=True, help="On a terminal."),
    click.option("-e", "--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable."),
    click.option(
        "--env-file", "env_files", multiple=True, metavar="FILE", help="Read NAME=VALUE lines from FILE."
    ),
    click.option("--env-id", default="", metavar="ID", help="The variables of this environment too."),
    click.option(
        "-v", "--volumes", multiple=True, metavar="HOST:PATH[:ro]", help="Show it a folder or file of the host."
    ),
    click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Inside; else the image's user."),
    click.option("-w", "--workdir", default="", metavar="FOLDER", help="Inside; else the image's."),
    click.option("--entrypoint", default=None, metavar="PROGRAM", help="Run this, not the image's entry point."),
    click.option("--simple", is_flag=True, help="Share the host's users instead of a range of its own."),
    engine_option,
    *LIMIT_OPTIONS,
    click.option(
        "--time-limit", default="", metavar="TIME", help="End it after so long: 90, 10m, 2h; 0 for none."
    ),
    click.option(
        "--stop-timeout", type=int, default=None, metavar="SECONDS", help="From TERM to KILL. [default: 10]"
    ),
)


def described(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say what a job is like: those of run and of cron add."""
    for option in reversed(_DESCRIBED):
        command = option(command)
    return command


def wanted(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say."""
    size = terminal_size()
    variables: dict[str, str] = {}
    for path in given["env_files"]:
        variables |= read_file(path)
    if given["tty"] and os.environ.get("TERM"):
        variables = {"TERM": os.environ["TERM"]} | variables
    for text in given["variables"]:
        if "=" in text:
            name, value = parse_argument(text)
            variables[name] = value
        elif text in os.environ:
            variables[text] = os.environ[text]
        elif not text:
            raise Invalid("'' is no variable", hint="-e NAME=VALUE")
    entrypoint: str | None = given["entrypoint"]
    return {
        "engine": given["engine"],
        "simple": given["simple"],
        "stdin": given["interactive"],
        "tty": given["tty"],
        "environment": variables,
        "environment_id": given["env_id"],
        "user": given["user"],
        "working_dir": given["workdir"],
        "entrypoint": None if entrypoint is None else (entrypoint,) if entrypoint else (),
        "volume_config": parse_volumes(given["volumes"]),
        "limits": parse_limits(given),
        "time_limit": parse_span(given["time_limit"]) if given["time_limit"] else None,
        "stop_timeout": given["stop_timeout"],
        "artifacts": given.get("artifacts", ""),
        "rows": size.rows,
        "columns": size.columns,
    }
