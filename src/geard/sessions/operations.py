"""Programs inside gears."""

from __future__ import annotations

import sys
from pathlib import Path

from geard.accounts.repositories import is_one, number_of
from geard.containers import lifecycle, selinux
from geard.containers.definition import Definition
from geard.containers.folders import Folders, engine_name
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.environments.file import check_variables, split_for_podman
from geard.exchange import Line, Size, Talk
from geard.failures import Denied, Invalid
from geard.host.attached import joined, kept, relay
from geard.host.engine import Engine, ExecSpec
from geard.host.keeper import ENV_FILE
from geard.keys.public import parse_key
from geard.keys.store import may_write
from geard.repositories import folders, githost
from geard.repositories.logins import wanted
from geard.sessions import listing, logins, programs, sftp, sftp_server
from geard.sessions.entering import check_may_enter
from geard.sessions.requests import (
    DescribeExec,
    DescribeLogin,
    ExecInContainer,
    ExecLine,
    ListSessions,
    SessionList,
)


@operation
async def exec_in_container(request: ExecInContainer, work: Work) -> Talk:
    argv, environment = await _command_line(request, work)
    environment |= _noted(request, work, work.asker.name)
    terminal = Size(request.rows, request.columns) if request.tty else None

    async def talk(line: Line) -> int:
        return await relay(argv, line, environment=environment, stdin=request.stdin, terminal=terminal)

    return talk


@operation
async def describe_exec(request: DescribeExec, work: Work) -> ExecLine:
    argv, environment = await _command_line(request.of, work)
    environment |= _noted(request.of, work, work.asker.name)
    return ExecLine(argv=tuple(kept(argv)), environment=environment)


@operation
async def describe_login(request: DescribeLogin, work: Work) -> ExecLine:
    if is_one(request.uid):
        return await _repository_login(request, work)
    id = await work.on_disk(logins.gear_of_uid, work.host.paths, request.uid)
    name, command = programs.program(request.command)
    wish = ExecInContainer(
        id=id,
        command=command,
        stdin=True,
        tty=request.tty,
        environment=dict(programs.variables(request.term, tty=request.tty)),
        rows=request.rows,
        columns=request.columns,
    )
    argv, environment = await (_sftp_line if name == "sftp" else _command_line)(wish, work)
    key = _fingerprint(request.key)
    environment |= _noted(wish, work, key or f"uid {request.uid}", program=name, key=key, source=request.source)
    return ExecLine(argv=tuple(joined(argv)), environment=environment)


async def _repository_login(request: DescribeLogin, work: Work) -> ExecLine:
    """One program of git's, by the repository's user, in the container that hosts it."""
    host = work.host
    id = await work.on_disk(folders.of_uid, host.paths, request.uid)
    key = _fingerprint(request.key)
    write = await work.on_disk(may_write, host.paths, id, parse_key(request.key).id) if key else None
    if write is None:
        raise Denied(f"that key does not open the repository {id}", hint="gear list-keys --repo shows which do")
    name, command = wanted(request.command, id, write=write)
    await githost.ready(host)
    program = githost.Program(
        number_of(request.uid), (*command, githost.repository(id)), environment={"GEARD_BY": key}
    )
    argv, environment = githost.command_line(host, program)
    facts = {
        "Gear": f"repo://{id}", "By": key, "Key": key, "Source": request.source, "Program": name, "Tty": "no",
    }  # fmt: skip
    return ExecLine(argv=tuple(joined(argv)), environment=environment | listing.note(host.paths, facts))


def _noted(
    request: ExecInContainer, work: Work, by: str, *, program: str = "", key: str = "", source: str = ""
) -> dict[str, str]:
    facts = {
        "Gear": request.id,
        "By": by,
        "Key": key,
        "Source": source,
        "Program": program or request.told(),  # arguments may be secret
        "Tty": "yes" if request.tty else "no",
    }
    return listing.note(work.host.paths, facts)


def _fingerprint(key: str) -> str:
    try:
        return parse_key(key).fingerprint if key else ""
    except Invalid:
        return ""


@operation
async def list_sessions(request: ListSessions, work: Work) -> SessionList:
    found = await work.on_disk(listing.opened, work.host.paths)
    return SessionList(sessions=tuple(each for each in found if work.asker.reaches(each.id)))


async def _sftp_line(request: ExecInContainer, work: Work) -> tuple[list[str], dict[str, str]]:
    """The same for a login that wants SFTP: by the host's program, where the engine lends it to the gear."""
    definition, engine = await _entered(request, work)
    files = await work.on_disk(sftp_server.needed) if engine.lends_files else ()
    spec = ExecSpec(
        container=engine_name(request.id),
        command=sftp_server.command(len(files)) if files else request.command,
        stdin=True,
        env_names=sftp_server.UNSET if files else (),
        files=len(files),
    )
    argv = [sys.executable, "-IS", str(Path(sftp.__file__)), str(len(files)), *files, *engine.exec_argv(spec)]
    environment = dict.fromkeys(spec.env_names, "")
    if files and definition.level and selinux.mode():
        environment[sftp.LABEL] = selinux.file_context(definition.level)
    return argv, environment


async def _command_line(request: ExecInContainer, work: Work) -> tuple[list[str], dict[str, str]]:
    """What is run, and what it needs in its environment. Raises NotFound, PreconditionFailed, Invalid."""
    _, engine = await _entered(request, work)
    # Command lines are for everybody on the host to see, so values go another way.
    lines, several = split_for_podman(request.environment)
    spec = ExecSpec(
        container=engine_name(request.id),
        command=request.command,
        stdin=request.stdin,
        tty=request.tty,
        user=request.user,
        folder=request.working_dir,
        env_file=f"/proc/self/fd/{ENV_FILE}" if lines else "",
        env_names=tuple(several),
    )
    environment = several | ({"GEARD_ENV_FILE": lines} if lines else {})
    return engine.exec_argv(spec), environment | engine.exec_environment(spec)


async def _entered(request: ExecInContainer, work: Work) -> tuple[Definition, Engine]:
    """The gear, and the engine that has it. Raises NotFound, PreconditionFailed, Invalid."""
    folders = Folders.of(work.host.paths, request.id)
    _check(request)
    definition = await check_may_enter(folders, work)
    return definition, work.host.engine_named(lifecycle.running_engine(folders, definition))


def _check(request: ExecInContainer) -> None:
    if not request.command or not request.command[0]:
        raise Invalid("there is no program to run", hint="gear exec NAME -- PROGRAM ARGUMENT...")
    if any("\0" in word for word in (*request.command, request.user, request.working_dir)):
        raise Invalid("no argument can hold a NUL")
    if not (0 < request.rows < 65536 and 0 < request.columns < 65536):
        raise Invalid(f"{request.rows} rows and {request.columns} columns are no terminal", hint="1 to 65535")
    check_variables(request.environment)
