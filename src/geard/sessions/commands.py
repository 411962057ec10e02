"""`gear exec`, `gear shell`, `switchns`."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn, cast

import click

from geard import __version__
from geard.cli.asking import ask_places, locators, places, session
from geard.cli.attaching import attach, terminal_size
from geard.cli.completion import GearName
from geard.cli.main import verb
from geard.cli.other_program import OWN_FAILURE, OtherProgram, own_failures
from geard.cli.output import output_option, print_list
from geard.environments.file import parse_argument
from geard.failures import Failure, Invalid, Unavailable
from geard.identifiers import Place
from geard.sessions.programs import SHELL, program
from geard.sessions.requests import DescribeExec, DescribeLogin, ExecInContainer, ListSessions
from geard.sessions.sftp import refuse
from geard.sessions.switchns import USAGE, parse_switchns
from geard.words import encode

LINE = 5
"""the descriptor on which joined.py has the line of a login"""
PATIENCE = 5.0
WISH_LIMIT = 200_000

options = (
    click.option("-e", "--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable more."),
    click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Of the gear; else the image's user."),
    click.option("-w", "--workdir", default="", metavar="FOLDER", help="Of the gear; else the image's."),
)


class TakesAll(OtherProgram):
    """One that reads its command line itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.params["words"] = tuple(args)
        return []


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
@own_failures
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
@own_failures
def shell(name: str, variables: tuple[str, ...], user: str, workdir: str) -> int:
    """Open a shell inside a gear that runs: its bash, or else its sh.

    It is on a terminal if the standard input is one; else it reads its commands there.
    """
    return _run(name, SHELL, stdin=True, tty=_at_terminal(), variables=variables, user=user, folder=workdir)


@verb("switchns", group="Gears", cls=TakesAll, hidden=True, add_help_option=False)
@own_failures
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


@verb("sessions", group="Look")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@output_option
def sessions(hosts: tuple[str, ...], form: str) -> None:
    """List who is inside which gear just now: by SSH, exec or shell.

    To end one: kill the process of that number on the gear's machine.
    """
    found = [
        (str(place), each)
        for place, answer in ask_places(places(hosts), lambda at: ListSessions())
        for each in answer.sessions
    ]
    rows = ((str(s.session), s.id, place, s.since, s.program, s.by, s.source) for place, s in found)
    header = ("SESSION", "ID", "SERVER", "SINCE", "PROGRAM", "BY", "FROM")
    print_list(found, form, (str(each.session) for _, each in found), header, rows)


@verb("join", group="This host", hidden=True)
def join() -> None:
    """Asked by geard-join.socket, for each who logs in: its input is the line to gear-join."""
    with socket.socket(fileno=os.dup(0)) as line:
        line.settimeout(PATIENCE)
        _, uid, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        words, fds, _, _ = socket.recv_fds(line, WISH_LIMIT, 3)
        line.settimeout(None)
        wish: Mapping[str, str | None] = {}
        try:
            if len(fds) != 3 or not all(map(_may_be_passed, fds)):
                raise Invalid("an input, an output and one for errors have to come along, pipes or terminals")
            wish = _wish(words)
            _enter(line, uid, wish, fds)
        except Failure as failure:
            if len(fds) == 3:
                _tell(failure, wish.get("Command"), fds)
            line.send(str(OWN_FAILURE).encode())


def _tell(failure: Failure, command: object, fds: Sequence[int]) -> None:
    hint = f"\n  {failure.hint}" if failure.hint else ""
    with suppress(OSError):  # gone
        os.write(fds[2], f"Error: {failure.message}{hint}\n".encode())
        if isinstance(command, str) and program(command)[0] == "sftp":
            refuse(failure.message, fds[0], fds[1])


def _may_be_passed(fd: int) -> bool:
    """What a login has: this side writes to it with rights that the other has not."""
    kind = os.fstat(fd)
    null = kind.st_rdev == os.makedev(1, 3)
    return stat.S_ISFIFO(kind.st_mode) or stat.S_ISSOCK(kind.st_mode) or os.isatty(fd) or null


def _wish(words: bytes) -> dict[str, str | None]:
    try:
        found = json.loads(words)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Invalid("a login says in JSON what it wants")
    return cast("dict[str, str | None]", found)


def _enter(line: socket.socket, uid: int, wish: Mapping[str, str | None], fds: Sequence[int]) -> NoReturn:
    tty, size = os.isatty(fds[0]), terminal_size(fds[0])
    login = DescribeLogin(
        uid=uid,
        command=wish.get("Command"),
        tty=tty,
        term=wish.get("Term") or "",
        rows=size.rows,
        columns=size.columns,
        key=wish.get("Key") or "",
        source=wish.get("Source") or "",
    )
    found = session.transport(Place()).send(login)
    for fd, target in zip(fds, (0, 1, 2), strict=True):
        os.dup2(fd, target)
    os.dup2(line.fileno(), LINE)
    os.set_inheritable(LINE, True)  # it may have been that descriptor before
    try:
        os.execvpe(found.argv[0], found.argv, {**os.environ, **found.environment})
    except OSError as error:
        raise Unavailable(f"cannot run that: {error.strerror}") from None


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
