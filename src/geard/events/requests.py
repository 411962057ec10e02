"""The words of events."""

from __future__ import annotations

from geard.logs.lines import calm
from geard.request import Answer, Request, Route, Stream


class Event(Answer):
    """One thing that happened to a gear. What is empty or 0 is not known, or does not concern this kind."""

    time: str
    """RFC 3339 with microseconds, UTC"""
    kind: str
    """installed, updated, ports, limits, deleted; starting, started, stopping, stopped, failed, restarting;
    healthy, unhealthy; pulling, pulled, pull-failed; job-started, job-ended; missed: of the events before this one
    some are gone. There will be more: pass over what is not known.
    """
    id: str = ""
    """the gear; empty where it is about an image"""
    message: str = ""
    """the same for people"""
    request: str = ""
    """the id of the request that caused it, if one did"""
    by: str = ""
    """who asked for that"""
    host: str = ""
    reason: str = ""
    """why it failed or ended"""
    exit_status: int | None = None
    """what its program ended with"""
    signal: str = ""
    """what ended its program: KILL, TERM, …"""
    oom: bool = False
    """it was killed for using more memory than its limit"""
    restarts: int = 0
    """how often systemd has started it again by itself since it was last told to start"""
    image: str = ""
    version: str = ""
    cursor: str = ""
    """asking with it gives what followed"""

    def text(self) -> str:
        words = f"{self.kind} {self.id or self.image}" + (f": {self.message}" if self.message else "")
        return f"{self.time} {calm(words)}" + (f" ({self.by})" if self.by else "")


class FollowEvents(Request[Stream[Event]]):
    """What happened to gears, then what happens. Times are those of a log."""

    route = Route("GET", "/events", scope="read")

    gear: str = ""
    """only of these, separated by commas"""
    kind: str = ""
    """only these kinds, separated by commas"""
    follow: bool | None = None
    """true: until the asker leaves; false: not at all; else for `timeout`"""
    timeout: str = ""
    """how long to follow, in seconds or as `10m`; `0` is not at all; else 30 seconds, or as `follow` says"""
    since: str = ""
    until: str = ""
    """nothing after this; following ends then"""
    after: str = ""
    """the cursor of an event: only what came after it"""

    def names(self) -> tuple[str, ...]:
        """The gears it is about; none: all."""
        return tuple(name.strip() for name in self.gear.split(",") if name.strip())
