"""The words of copying."""

from __future__ import annotations

from geard.exchange import Session
from geard.request import Answer, Request, Route


class FileFacts(Answer):
    example = {"Path": "/data", "Kind": "folder", "Size": 4096, "Mode": "0755", "Modified": 1795867200}

    path: str
    kind: str
    """folder, file, other"""
    size: int
    mode: str
    """octal"""
    modified: int
    """seconds since 1970"""

    def text(self) -> str:
        return f"{self.kind} {self.mode} {self.size} {self.path}"


class LookAtFile(Request[FileFacts]):
    """What is at a path inside a gear that runs; a link there is followed."""

    route = Route("GET", "/container/{id}/file")
    example = {"Id": "web-1", "Path": "/data"}

    id: str
    path: str


class CopyOut(Request[Session]):
    """A file or a folder inside a gear that runs, as a tar."""

    route = Route("GET", "/container/{id}/files")
    example = {"Id": "web-1", "Path": "/data"}
    archive = True

    id: str
    path: str
    name: str = ""
    """what it is called in the tar; its own name, where empty; `.` for the contents of a folder alone"""


class CopyIn(Request[Session]):
    """Put what a tar holds into a folder inside a gear that runs. It belongs to the user the gear runs as."""

    route = Route("PUT", "/container/{id}/files")
    example = {"Id": "web-1", "Path": "/data"}
    archive = True

    id: str
    path: str


class CopyLine(Answer):
    """The command line that does it on this machine, and what it needs in its environment."""

    argv: tuple[str, ...]
    environment: dict[str, str] = {}


class DescribeCopy(Request[CopyLine]):
    """Say how `of` is done, to whoever may do it themselves: root, on this machine, without an agent."""

    of: CopyOut | CopyIn
