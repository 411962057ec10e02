"""The words of sessions."""

from __future__ import annotations

from geard.exchange import Session
from geard.request import Answer, Request, Route


class ExecInContainer(Request[Session]):
    """Run a program inside a gear that runs, with the asker's input and output."""

    route = Route("POST", "/container/{id}/exec")
    example = {"Id": "web-1", "Command": ["sh", "-c", "ls /srv"], "Stdin": True}

    id: str
    command: tuple[str, ...]
    stdin: bool = False
    tty: bool = False
    environment: dict[str, str] = {}
    """beside the gear's own"""
    user: str = ""
    """NAME or NUMBER[:GROUP] inside the gear; the image's, where empty"""
    working_dir: str = ""
    rows: int = 24
    columns: int = 80

    def told(self) -> str:
        return self.command[0] if self.command else ""  # arguments may be secret


class ExecLine(Answer):
    """The command line that does it on this machine, and what it needs in its environment."""

    argv: tuple[str, ...]
    environment: dict[str, str] = {}


class DescribeExec(Request[ExecLine]):
    """Say how `of` is done, to whoever may do it themselves: root, on this machine, without an agent."""

    of: ExecInContainer
