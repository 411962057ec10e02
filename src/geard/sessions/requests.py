"""The words of sessions."""

from __future__ import annotations

from geard.exchange import Session
from geard.request import Answer, Request, Route
from geard.words import Word


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


class DescribeLogin(Request[ExecLine]):
    """Say how the gear is entered whose user has come by geard-join.socket. `uid` is the kernel's word; the rest
    is what the program says that sshd forces on that user.
    """

    uid: int
    command: str | None = None
    """for the gear's shell; None for that shell itself"""
    tty: bool = False
    term: str = ""
    rows: int = 24
    columns: int = 80
    key: str = ""
    """the public key that was let in: TYPE BASE64"""
    source: str = ""
    """the address it came from"""


class OpenSession(Word):
    session: int
    """the process that holds it, on the host"""
    id: str
    """the gear"""
    since: str
    """RFC 3339"""
    by: str = ""
    """who asked, or the key that was let in"""
    source: str = ""
    """the address they came from by SSH"""
    program: str = ""
    tty: bool = False


class SessionList(Answer):
    example = {
        "Sessions": [
            {
                "Session": 4711,
                "Id": "web-1",
                "Since": "2026-11-28T11:40:00+00:00",
                "By": "SHA256:Zkh2AzzyVqbkXKnpCXhIBtLnN9fHyDqN8hPc0OXNzn0",
                "Source": "192.0.2.7",
                "Program": "shell",
                "Tty": True,
            }
        ]
    }

    sessions: tuple[OpenSession, ...]

    def text(self) -> str:
        return "\n".join(
            f"{each.session} {each.id} {each.since} {each.by} {each.program}" for each in self.sessions
        )


class ListSessions(Request[SessionList]):
    """Who is inside which gear just now, by SSH, `exec` or `shell`."""

    route = Route("GET", "/sessions", scope="read", reach="shown")
