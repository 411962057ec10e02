"""A new repository, filled from another: of this machine, or from elsewhere, where strangers may ask."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys

from geard.containers.sizes import parse_size
from geard.failures import Failure, Unavailable
from geard.host import Host
from geard.host.fetch import without_query
from geard.host.process import run
from geard.repositories import folders, githost
from geard.repositories.githost import Program, repository
from geard.repositories.settings import RepositorySettings
from geard.repositories.sources import Source

PROGRAM = "/usr/lib/geard/gear-git-fetch"
SECONDS = 3_600
SPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_BRANCH = re.compile(r"^ref: (refs/heads/\S+)\tHEAD$", re.MULTILINE)


async def fill(host: Host, id: str, source: Source) -> None:
    """Raises Failure; what it began is left as it is."""
    number = folders.number(host.paths, id)
    if source.hosted:
        await _from_here(host, id, number, source.hosted)
    else:
        await _from_elsewhere(host, id, number, source.url)


async def _from_elsewhere(host: Host, id: str, number: int, url: str) -> None:
    """gear-git-fetch lends the container one way out, with the rules of gear-fetch, while this lasts."""
    settings = host.settings.section(RepositorySettings)
    limit = parse_size(settings.limit) // 1024
    # What is fetched is one pack. A shell's unit is 512 or 1,024 bytes.
    bounded = 'ulimit -f "$1" && shift && exec "$@"' if limit else 'shift && exec "$@"'
    fetch = ("sh", "-c", bounded, "sh", str(limit), "git", "-C", repository(id), "fetch", "--quiet", "--no-tags",
             "--no-write-fetch-head", "--", "URL", *SPECS)  # fmt: skip
    head = ("git", "-C", repository(id), "ls-remote", "--symref", "--", "URL", "HEAD")
    config = {
        "protocol.allow": "never",
        **{f"protocol.{each}.allow": "always" for each in ("http", "https", "git")},
        "http.proxy": "PROXY",
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": "60",
        "fetch.fsckObjects": "false",
        "credential.helper": "",
    }
    commands: list[tuple[list[str], dict[str, str]]] = [
        githost.command_line(host, Program(number, command, config), stdin=False) for command in (head, fetch)
    ]
    order = {
        "Url": url,
        "Allow": list(settings.allow),
        "Commands": [{"Argv": argv, "Environment": environment} for argv, environment in commands],
    }
    argv = [sys.executable, "-I", "-S", PROGRAM]
    finished = await run(argv, stdin=json.dumps(order).encode(), timeout=SECONDS, check=False)
    if finished.status != 0:
        said = [line for line in finished.errors.splitlines() if line.strip()]
        why = said[-1].removeprefix("fatal: ")[:300] if said else f"git ended with {finished.status}"
        hint = (
            "[repositories] allow in /etc/geard/geard.toml may permit it" if "not a public address" in why else ""
        )
        raise Unavailable(f"cannot clone {without_query(url)}: {why}", hint=hint)
    if branch := _BRANCH.search(finished.output):
        await _point_head(host, id, number, branch[1])


async def _from_here(host: Host, id: str, number: int, source: str) -> None:
    """A bundle, made by the one's user and read by the other's: neither can look into the other's folder."""
    from_number = folders.number(host.paths, source)
    refs = await githost.done(
        host, Program(from_number, ("git", "-C", repository(source), "for-each-ref", "--count=1"))
    )
    head = Program(from_number, ("git", "-C", repository(source), "symbolic-ref", "--quiet", "HEAD"))
    if refs:
        make, made = githost.command_line(
            host,
            Program(
                from_number, ("git", "-C", repository(source), "bundle", "create", "-", "--branches", "--tags")
            ),
            stdin=False,
        )
        script = (
            'cat >bundle && git fetch --quiet --no-tags --no-write-fetch-head -- ./bundle "$@"; '
            "status=$?; rm -f bundle; exit $status"
        )
        take, taken = githost.command_line(
            host,
            Program(
                number,
                ("sh", "-c", f'cd "$1" && shift && {script}', "sh", repository(id), *SPECS),
                {"protocol.file.allow": "always"},
            ),
        )
        await _piped((make, made), (take, taken))
    await _point_head(host, id, number, (await githost.done(host, head)).strip())


async def _piped(*commands: tuple[list[str], dict[str, str]]) -> None:
    near, far = os.pipe()
    ends = ((None, far), (near, None))
    children: list[asyncio.subprocess.Process] = []
    try:
        for (argv, environment), (stdin, stdout) in zip(commands, ends, strict=True):
            children.append(
                await asyncio.create_subprocess_exec(
                    *argv,
                    env={**os.environ, **environment},
                    stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
                    stdout=asyncio.subprocess.DEVNULL if stdout is None else stdout,
                    stderr=asyncio.subprocess.PIPE,
                )
            )
        os.close(near)
        os.close(far)
        said = await asyncio.wait_for(asyncio.gather(*(child.communicate() for child in children)), SECONDS)
    except BaseException:
        for child in children:
            if child.returncode is None:
                child.kill()
        raise
    for child, (_, errors) in zip(children, said, strict=True):
        if child.returncode:
            raise Unavailable(f"cannot copy it: {errors.decode(errors='replace').strip()[-300:]}")


async def _point_head(host: Host, id: str, number: int, branch: str) -> None:
    if not branch.startswith("refs/heads/"):
        return
    try:
        await githost.done(host, Program(number, ("git", "-C", repository(id), "symbolic-ref", "HEAD", branch)))
    except Failure:
        return  # a name that this git does not take; HEAD stays what it was
