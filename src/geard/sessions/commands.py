"""`gear exec`, `gear shell`, `switchns`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click

from geard import __version__
from geard.cli.asking import locators, session, tell
from geard.cli.attaching import attach, terminal_size
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.environments.file import parse_argument
from geard.failures import Failure, Invalid, Unavailable
from geard.sessions.requests import DescribeExec, ExecInContainer
from geard.sessions.switchns import USAGE, parse_switchns
from geard.words import encode

OWN_FAILURE = 125
"""of geard or the engine, as podman has it; 126 and 127 come from the engine, the rest from the program"""

# A gear without bash has sh; a gear without sh has no shell.
SHELL = ("/bin/sh", "-c", "if [ -x /bin/bash ]; then exec /bin/bash -l; fi; exec /bin/sh -l")

options = (
    click.option("-e", "--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable more."),
    click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Of the gear; else the image's user."),
    click.option("-w", "--workdir", default="", metavar="FOLDER", help="Of the gear; else the image's."),
)


class OtherProgram(click.Command):
    """A verb whose exit code is that of the program it runs: its own failures are all one code."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except click.UsageError as error:
            error.show(sys.stderr)
            raise click.exceptions.Exit(OWN_FAILURE) from None


class TakesAll(OtherProgram):
    """One that reads its command line itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["words"] = tuple(args)
        return []


def _told(command: Callable[..., int]) -> Callable[..., int]:
    @wraps(command)
    def run(**given: Any) -> int:
        try:
            return command(**given)
        except Failure as failure:
            tell(failure)
            return OWN_FAILURE

    return run


def _common(command: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(options):
        command = option(command)
    return command


@verb("exec", group="Gears", cls=OtherProgram, context_settings={"allow_interspersed_args": False})
@click.option("-i", "--interactive", is_flag=True, help="With the standard input of this command.")
@click.option("-t", "--tty", is_flag=True, help="On a terminal.")
@_common
@click.argument("name", metavar="NAME", type=GearName())
@click.argument("command", nargs=-1, metavar="[--] COMMAND...", type=click.UNPROCESSED)
@_told
def exec_(name: str, command: tuple[str, ...], **given: Any) -> int:
    """Run a program inside a gear that runs.

    \b
    gear exec web -- ls -l /data
    gear exec -it web sh
    gear exec -i h1/db -- psql <dump.sql

    It has the gear's namespaces, limits, protections and environment. Its exit code is passed on: 126 says that
    it cannot be executed, 127 that there is no such program, 125 that geard or the engine failed.
    """
    return _run(
        name,
        command[1:] if command[:1] == ("--",) else command,
        stdin=given["interactive"],
        tty=given["tty"],
        variables=given["variables"],
        user=given["user"],
        folder=given["workdir"],
    )


@verb("shell", group="Gears", cls=OtherProgram)
@_common
@click.argument("name", metavar="NAME", type=GearName())
@_told
def shell(name: str, variables: tuple[str, ...], user: str, workdir: str) -> int:
    """Open a shell inside a gear that runs: its bash, or else its sh.

    It is on a terminal if the standard input is one; else it reads its commands there.
    """
    return _run(name, SHELL, stdin=True, tty=_at_terminal(), variables=variables, user=user, folder=workdir)


@verb("switchns", group="Gears", cls=TakesAll, hidden=True, add_help_option=False)
@_told
def switchns(words: tuple[str, ...]) -> int:
    """The original's name for `gear exec`."""
    if words in (("version",), ("--version",)):
        click.echo(f"switchns {__version__}")
        return 0
    if words in (("help",), ("--help",), ("-h",)):
        click.echo(f"Usage: {USAGE}\n\n  Run a program inside a gear that runs, as 'gear exec' does.")
        return 0
    wanted = parse_switchns(words)
    return _run(wanted.container, wanted.command, stdin=True, tty=_at_terminal(), variables=wanted.variables)


def _at_terminal() -> bool:
    return os.isatty(0)


def _run(
    name: str,
    command: Sequence[str],
    *,
    stdin: bool,
    tty: bool,
    variables: Sequence[str] = (),
    user: str = "",
    folder: str = "",
) -> int:
    (target,) = locators([name])
    size = terminal_size()
    request = ExecInContainer(
        id=target.id,
        command=tuple(command),
        stdin=stdin,
        tty=tty,
        environment=_environment(variables, tty),
        user=user,
        working_dir=folder,
        rows=size.rows,
        columns=size.columns,
    )
    transport = session.transport(target.at)
    if session.in_process(target.at):
        line = transport.send(DescribeExec(of=request))
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            os.execvpe(line.argv[0], line.argv, {**os.environ, **line.environment})
        except OSError as error:  # too long a command line, most likely
            raise Unavailable(f"cannot run that: {error.strerror}") from None
    _check_text(request)
    return attach(transport.send(request), stdin=stdin, tty=tty)


def _check_text(request: ExecInContainer) -> None:
    """A command line is bytes, and a request is text. Raises Invalid."""
    try:
        encode(request)
    except UnicodeEncodeError:
        raise Invalid("an argument is not UTF-8", hint="as root on the gear's own machine it may be") from None


def _environment(variables: Sequence[str], tty: bool) -> dict[str, str]:
    """Those given, NAME alone having the value it has here; and on a terminal what kind of terminal it is."""
    found = {"TERM": os.environ["TERM"]} if tty and os.environ.get("TERM") else {}
    for text in variables:
        if "=" in text:
            name, value = parse_argument(text)
            found[name] = value
        elif text in os.environ:
            found[text] = os.environ[text]
        elif not text:
            raise Invalid("'' is no variable", hint="-e NAME=VALUE")
    return found
