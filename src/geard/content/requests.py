"""The words of content tokens."""

from __future__ import annotations

from geard.request import Answer, Nothing, Request, Route

LONGEST_SECONDS = 24 * 3600


class ContentToken(Answer):
    path: str
    """of the link, at any door of the agent's: `/token/…`"""
    expires: str
    """RFC 3339"""
    once: bool
    """it changes something, and so works once, with POST"""
    request_id: str = ""
    """by which it does so"""

    def text(self) -> str:
        return self.path


class CreateContentToken(Request[ContentToken]):
    """Seal one request into a link that lets whoever holds it ask that, as you, until it expires.

    Its `path` is that of a route; who makes the link must be allowed to ask it, now and when it is used.
    """

    route = Route("POST", "/content-tokens", reach="shown")
    secret_answer = True
    example = {"Path": "/environment/web", "Seconds": 600}

    path: str
    method: str = "GET"
    query: str = ""
    body: str = ""
    """JSON, where the request has one"""
    seconds: int = 3600
    """until it expires; a day at most"""

    def told(self) -> str:
        return f"{self.method} {self.path}"


class RevokeContentTokens(Request[Nothing]):
    """Have no link work any more that was made on this machine, whoever made it."""

    route = Route("DELETE", "/content-tokens", scope="admin", reach="machine")
