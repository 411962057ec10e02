"""Repositories, made, filled, renamed, tidied, deleted."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path

from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.failures import Failure, Invalid, NotFound
from geard.host.attached import output_of
from geard.host.paths import Paths
from geard.host.process import ProgramFailed
from geard.identifiers import check_id, repository_login
from geard.keys import store as keys
from geard.repositories import filling, folders, githost, made, webhooks
from geard.repositories.githost import Program
from geard.repositories.made import Made
from geard.repositories.refs import TYPES, file_name, is_ref
from geard.repositories.requests import (
    ArchiveRepository,
    CreatedRepository,
    CreateRepository,
    DeletedRepository,
    DeleteRepository,
    FilledRepository,
    FillRepository,
    GetWebhook,
    ListedRepository,
    ListRepositories,
    NotePushes,
    RemoveWebhook,
    RenamedRepository,
    RenameRepository,
    RepositoryList,
    SetWebhook,
    TidiedRepository,
    TidyRepository,
    Webhook,
)
from geard.repositories.settings import RepositorySettings
from geard.repositories.sources import parse_source
from geard.request import Nothing, Piece

TIDY_SECONDS = 3_600


@operation
async def create_repository(request: CreateRepository, work: Work) -> CreatedRepository:
    id = check_id(request.id, "repository")
    if request.source:
        source = parse_source(request.source)
        if source.hosted:
            await work.on_disk(keys.check_there, work.host.paths, source.hosted)
    branch = work.host.settings.section(RepositorySettings).branch
    await work.on_disk(folders.create, work.host, id, branch, Made(work.id, request.source))
    if request.source:
        work.owe(FillRepository(id=id, source=request.source))
    return CreatedRepository(id=id, login=repository_login(id), source=request.source)


@operation
async def fill_repository(request: FillRepository, work: Work) -> FilledRepository:
    """Done again where it was cut: what is there by then is fetched no second time. An empty one that cannot be
    filled goes, so that it can be asked for again.
    """
    id, host = check_id(request.id, "repository"), work.host

    async def fill() -> None:
        await githost.ready(host, work.say)
        number = await work.on_disk(folders.number, host.paths, id)
        async with made.filling(folders.made_path(host.paths, number)) as wanted:
            if wanted:
                work.say("filling", f"filling {id} from {request.source}")
                await filling.fill(host, id, parse_source(request.source))

    try:
        async with work.turn():
            await fill()
    except Failure:
        if not await work.on_disk(_has_refs, folders.path(host.paths, id)):
            await _delete(id, work)
        raise
    work.conclude("done", f"{id} is filled", id)
    return FilledRepository(id=id)


@operation
async def list_repositories(request: ListRepositories, work: Work) -> RepositoryList:
    found = await work.on_disk(_listed, work.host.paths)
    return RepositoryList(repositories=tuple(each for each in found if work.asker.reaches(each.id)))


def _listed(paths: Paths) -> list[ListedRepository]:
    found: list[ListedRepository] = []
    for id in folders.listed(paths):
        with suppress(OSError):  # deleted just now
            found.append(_looked_at(folders.path(paths, id), id))
    return found


def _looked_at(at: Path, id: str) -> ListedRepository:
    """By its files alone: no program is run for each. Links are not followed; its user could have made them."""
    size, refs, changed = 0, set[str](), 0.0
    for folder, _, files in os.walk(at):
        inside = os.path.relpath(folder, at)
        for name in files:
            status = os.lstat(os.path.join(folder, name))
            size += status.st_blocks * 512
            if inside.startswith("refs") and not name.endswith(".lock"):
                refs.add(f"{inside}/{name}")
                changed = max(changed, status.st_mtime)
    packed = _text(at / "packed-refs", 16 << 20)
    refs |= {line.split(" ", 1)[1] for line in packed.splitlines() if " refs/" in line}
    head = _text(at / "HEAD", 4_096).strip()
    return ListedRepository(
        id=id,
        login=repository_login(id),
        bytes=size,
        refs=len(refs),
        head=head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else "",
        changed=_rfc3339(changed or os.lstat(at / "config").st_mtime),
    )


def _text(path: Path, limit: int) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        return file.read(limit).decode(errors="replace")


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _has_refs(at: Path) -> bool:
    with suppress(OSError):
        return _looked_at(at, at.name).refs > 0
    return False


@operation
async def delete_repository(request: DeleteRepository, work: Work) -> DeletedRepository:
    id = check_id(request.id, "repository")
    return DeletedRepository(id=id, deleted=await _delete(id, work))


async def _delete(id: str, work: Work) -> bool:
    number = await work.on_disk(folders.put_aside, work.host, id)
    if number is not None:
        with suppress(Failure):  # then it ends by itself: its folder is not there any more
            await githost.end_all(work, number)
        await work.on_disk(folders.clear, work.host)
    return number is not None


@operation
async def rename_repository(request: RenameRepository, work: Work) -> RenamedRepository:
    id, name = check_id(request.id, "repository"), check_id(request.name, "repository")
    if id == name:
        raise Invalid(f"{id} has that name")
    await work.on_disk(folders.rename, work.host, id, name)
    return RenamedRepository(id=id, name=name, login=repository_login(name))


@operation
async def note_pushes(request: NotePushes, work: Work) -> Nothing:
    """What is to follow a push begins here: who waits for its event, or reads `Push` in this room."""
    await work.on_disk(webhooks.tell, work.host)
    return Nothing()


@operation
async def set_webhook(request: SetWebhook, work: Work) -> Webhook:
    id = check_id(request.id, "repository")
    await work.on_disk(webhooks.set_, work.host, id, request.url)
    return Webhook(id=id, url=request.url)


@operation
async def get_webhook(request: GetWebhook, work: Work) -> Webhook:
    id = check_id(request.id, "repository")
    return Webhook(id=id, url=await work.on_disk(webhooks.of, work.host.paths, id))


@operation
async def remove_webhook(request: RemoveWebhook, work: Work) -> Webhook:
    id = check_id(request.id, "repository")
    await work.on_disk(webhooks.remove, work.host.paths, id)
    return Webhook(id=id)


@operation
async def archive_repository(request: ArchiveRepository, work: Work) -> AsyncIterator[Piece]:
    id, host = check_id(request.id, "repository"), work.host
    number = await work.on_disk(folders.number, host.paths, id)
    missing = NotFound(
        f"{id} has no {request.ref[:200]!r}", hint="a branch, a tag or a commit; its branches: git ls-remote"
    )
    if not is_ref(request.ref):
        raise missing
    await githost.ready(host)
    git = ("git", "-C", githost.repository(id))
    find = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{request.ref}^{{commit}}")
    try:
        commit = (await githost.done(host, Program(number, (*git, *find)))).strip()
    except ProgramFailed as failed:
        if failed.status != 1 and "unknown revision" not in failed.errors:
            raise
        raise missing from None
    make = Program(number, (*git, "archive", f"--format={request.format}", commit))
    first = True
    async with aclosing(output_of(*githost.command_line(host, make, stdin=False))) as output:
        async for data in output:
            if first:
                yield Piece(data=data, type=TYPES[request.format], name=file_name(id, request.ref, request.format))
            else:
                yield Piece(data=data)
            first = False


@operation
async def tidy_repository(request: TidyRepository, work: Work) -> TidiedRepository:
    id, host = check_id(request.id, "repository"), work.host
    number = await work.on_disk(folders.number, host.paths, id)
    before = (await work.on_disk(_looked_at, folders.path(host.paths, id), id)).bytes
    await githost.ready(host, work.say)
    async with work.turn():
        # What a killed push left: git itself looks for files only, not for the folder that holds them.
        stale = "find objects -maxdepth 1 -name 'tmp_objdir-*' -mmin +60 -exec rm -rf {} +"
        script = f'cd "$1" && {stale}; git gc --quiet --prune=1.hour.ago'
        command = ("sh", "-c", script, "sh", githost.repository(id))
        await githost.done(host, Program(number, command), seconds=TIDY_SECONDS)
    after = (await work.on_disk(_looked_at, folders.path(host.paths, id), id)).bytes
    return TidiedRepository(id=id, message=f"{id}: {before} bytes on disk before, {after} now")
