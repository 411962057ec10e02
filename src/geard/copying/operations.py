"""Files of gears, read and written from inside them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from geard.containers.folders import Folders
from geard.copying import failing, within
from geard.copying.requests import CopyIn, CopyLine, CopyOut, DescribeCopy, FileFacts, LookAtFile
from geard.dispatch.operation import operation
from geard.dispatch.work import Work
from geard.exchange import Errors, FromAsker, Line, Talk, ToAsker
from geard.failures import Invalid, PreconditionFailed
from geard.host.attached import kept, relay
from geard.host.process import run
from geard.links import live, store
from geard.sessions import listing
from geard.sessions.entering import check_may_enter

_ERRORS_LIMIT = 64 * 1024
_PATH_LIMIT = 4_000


@operation
async def look_at_file(request: LookAtFile, work: Work) -> FileFacts:
    path = _path(request.path)
    found = await run(await _argv(request.id, work, "look", path), check=False)
    if found.status:
        raise failing.failure(found.errors, found.status)
    return msgspec.convert({"Path": path, **json.loads(found.output)}, FileFacts)


@operation
async def copy_out(request: CopyOut, work: Work) -> Talk:
    return _talk(await _line(request, work), takes_input=False)


@operation
async def copy_in(request: CopyIn, work: Work) -> Talk:
    return _talk(await _line(request, work), takes_input=True)


@operation
async def describe_copy(request: DescribeCopy, work: Work) -> CopyLine:
    line = await _line(request.of, work)
    return CopyLine(argv=tuple(kept(line.argv)), environment=line.environment)


async def _line(request: CopyOut | CopyIn, work: Work) -> CopyLine:
    path = _path(request.path)
    what = ["in", path]
    if isinstance(request, CopyOut):
        if path == "/":
            raise Invalid(f"{request.id} is not copied as a whole", hint="name a file or a folder in it")
        what = ["out", path, _name(request.name or path.rpartition("/")[2])]
    facts = {
        "Gear": request.id,
        "By": work.asker.name,
        "Key": "",
        "Source": "",
        "Program": f"copy {what[0]}",
        "Tty": "no",
    }
    return CopyLine(
        argv=tuple(await _argv(request.id, work, *what)), environment=listing.note(work.host.paths, facts)
    )


def _talk(line: CopyLine, *, takes_input: bool) -> Talk:
    async def talk(asker: Line) -> int:
        heard = _Overheard(asker)
        status = await relay(line.argv, heard, environment=line.environment, stdin=takes_input, terminal=None)
        if status:
            raise failing.failure(heard.errors, status)
        for remark in failing.remarks(heard.errors, status):
            await asker.say(Errors(f"{remark}\n".encode()))
        return status

    return talk


class _Overheard:
    """A line whose asker is spared what the program says of its failure, which is told as one."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._errors = bytearray()

    @property
    def errors(self) -> str:
        return self._errors.decode(errors="replace")

    async def hear(self) -> FromAsker:
        return await self._line.hear()

    async def say(self, event: ToAsker) -> None:
        if isinstance(event, Errors):
            self._errors += event.data
            del self._errors[:-_ERRORS_LIMIT]
        else:
            await self._line.say(event)


async def _argv(id: str, work: Work, *what: str) -> list[str]:
    """Raises NotFound, Denied, PreconditionFailed."""
    await check_may_enter(Folders.of(work.host.paths, id), work)
    pid = await work.on_disk(live.process, store.place(work.host.paths, id))
    try:
        start = within.start_of(pid) if pid else ""
    except OSError:
        start = ""
    if not start:
        raise PreconditionFailed(f"{id} is not running", hint=f"gear status {id}")
    return [sys.executable, "-IS", "-X", "utf8", str(Path(within.__file__)), str(pid), start, *what]


def _path(path: str) -> str:
    """From the root of the gear; `..` is taken away without a look, as in a URL. Raises Invalid."""
    if "\0" in path or len(path.encode()) > _PATH_LIMIT:
        raise Invalid("that is no path: it holds a NUL, or is too long")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _name(name: str) -> str:
    if not name or name == ".." or "/" in name or "\0" in name or len(name.encode()) > 255:
        raise Invalid(f"{name[:80]!r} is no name of a file")
    return name
