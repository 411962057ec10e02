"""The container in which git does what is asked of repositories: no network, no rights, each by its own user.

It is a unit of its own, geard-githost.service, and started by whoever first needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from geard.containers.sizes import parse_size
from geard.dispatch.work import Work
from geard.failures import Failure, Unavailable
from geard.host import Host
from geard.host.engine import Engine, ExecSpec
from geard.host.process import run
from geard.host.storage import Changes
from geard.images.pulling import bring
from geard.repositories import folders
from geard.repositories.settings import RepositorySettings

NAME = "geard-githost"
UNIT = f"{NAME}.service"
INSIDE = "/git"
START_SECONDS = 60

# Nothing that stands in a repository's own configuration is to decide what is run, and for how long.
_CONFIG = {
    "core.hooksPath": "/hooks",
    "core.fsync": "committed",
    "core.alternateRefsCommand": "true",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.windowMemory": "64m",
    "pack.threads": "2",
    "receive.autogc": "false",
    "receive.fsckObjects": "true",
    "receive.advertiseAtomic": "true",
    "uploadpack.allowFilter": "true",
    "protocol.allow": "never",
}


@dataclass(frozen=True)
class Program:
    """What is run in there, by a repository's user."""

    number: int
    command: tuple[str, ...]
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


def engine(host: Host) -> Engine:
    return host.engine_named("podman")


async def ready(host: Host, say: Callable[[str, str], None] = lambda phase, message: None) -> None:
    """Have it running. Raises Failure where its image is not here and cannot be had, or it does not start."""
    if (await host.systemd.state(UNIT)).active == "active":
        return
    wanted = host.settings.section(RepositorySettings).image
    try:
        image = await bring(host, engine(host), wanted, say)
    except Failure as failure:
        raise Unavailable(
            f"repositories are hosted in an image with git, {wanted}, which is not here: {failure.message}",
            hint="make it (docs/GIT.md), or name another: [repositories] image in /etc/geard/geard.toml",
        ) from None

    def write() -> None:
        with Changes() as changes:
            folders.lay_out(host.paths, changes)
            changes.folder(host.paths.run)
            changes.write(host.paths.run / "githost", f'GEAR_IMAGE="{image.id}"\n')

    write()
    result = await host.systemd.start(UNIT, wait=START_SECONDS)
    if result not in ("done", "skipped"):
        raise Unavailable(f"{UNIT} does not start: {result}", hint=f"systemctl status {UNIT}")


def command_line(host: Host, program: Program, *, stdin: bool = True) -> tuple[list[str], dict[str, str]]:
    """What is run on the host for it, and what that needs in its environment: no value is on a command line."""
    settings = host.settings.section(RepositorySettings)
    config = {**_CONFIG, **program.config}
    if push_limit := parse_size(settings.push_limit):
        config["receive.maxInputSize"] = str(push_limit)
    environment = {
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(config)),
        "GEARD_LIMIT": str(parse_size(settings.limit)),
        **program.environment,
    }
    for index, (name, value) in enumerate(config.items()):
        environment |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
    spec = ExecSpec(
        container=NAME,
        command=program.command,
        stdin=stdin,
        user=f"{program.number}:{program.number}",
        folder="/",
        env_names=tuple(environment),
    )
    return engine(host).exec_argv(spec), environment | engine(host).exec_environment(spec)


async def done(host: Host, program: Program, *, seconds: float = 60) -> str:
    """What a short program says. Raises ProgramFailed."""
    argv, environment = command_line(host, program, stdin=False)
    return (await run(["/usr/bin/env", *_assigned(environment), *argv], timeout=seconds)).output


def _assigned(environment: Mapping[str, str]) -> Sequence[str]:
    return [f"{name}={value}" for name, value in environment.items()]


async def end_all(work: Work, number: int) -> None:
    """End what runs for a repository; where the container is down, nothing does."""
    if (await work.host.systemd.state(UNIT)).active != "active":
        return
    argv, _ = command_line(work.host, Program(number, ("sh", "-c", "kill -9 -1")), stdin=False)
    await run(argv, check=False)


def repository(id: str) -> str:
    """Where it is in there."""
    return f"{INSIDE}/{id}"
