"""The words of logs."""

from __future__ import annotations

from geard.logs.lines import render_line
from geard.request import Answer, Request, Route, Stream


class LogLine(Answer):
    """What was written at once; one line nearly always, but a message may hold several.

    Where `skipped` is not 0 it is geard that speaks: so many lines came faster than they were read; or, -1, the
    line after which was asked is gone from the journal, and some that followed may be.
    """

    example = {
        "Time": "2026-11-24T02:26:34.512093Z",
        "Id": "web-1",
        "Message": "GET / 200",
        "Identifier": "nginx",
        "Pid": 4711,
    }

    time: str
    """RFC 3339 with microseconds, UTC"""
    id: str
    """the gear"""
    message: str
    priority: int = 6
    """0 to 7, as syslog(3) has them"""
    identifier: str = ""
    """the program that wrote it; `systemd` speaks about the gear"""
    pid: int = 0
    cursor: str = ""
    """what `after` takes"""
    skipped: int = 0

    def text(self) -> str:
        return render_line(self.time, self.identifier, self.pid, self.message)


class FollowLog(Request[Stream[LogLine]]):
    """The lines of a gear's log: those that are there, then those that come.

    Times are RFC 3339, `2026-11-23 19:43`, `19:43`, `today`, `yesterday` or `@SECONDS`, in the host's time
    zone where they name none, or how long ago: `10m`, `2h30m`, `1d`.
    """

    route = Route("GET", "/container/{id}/log", scope="read")

    id: str
    follow: bool | None = None
    """true: until the asker leaves; false: not at all; else for `timeout`"""
    timeout: str = ""
    """how long to follow, in seconds or as `10m`; `0` is not at all; else 30 seconds, or as `follow` says"""
    lines: str = ""
    """only the last so many; `all`"""
    since: str = ""
    until: str = ""
    """nothing after this; following ends then"""
    after: str = ""
    """the cursor of a line: only what came after it"""
