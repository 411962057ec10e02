"""What a repository may be filled from. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from geard.failures import Invalid
from geard.host.fetch import check_url
from geard.identifiers import check_id
from geard.repositories.logins import ON_DISK

GIT_PORT = 9418


@dataclass(frozen=True)
class Source:
    url: str = ""
    """https, http or git"""
    hosted: str = ""
    """another repository of this machine"""


def parse_source(text: str) -> Source:
    """Raises Invalid: other transports (ext::, file, ssh) run programs, read this machine's files or need keys."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        return Source(hosted=_hosted(text.removeprefix(ON_DISK)))
    if scheme == "repo":
        return Source(hosted=_hosted(rest))
    if scheme in ("http", "https"):
        return Source(url=check_url(text))
    if scheme != "git":
        raise Invalid(
            f"nothing is cloned by {scheme[:20]!r}",
            hint="https://, http://, git://, or a repository of this machine",
        )
    check_url(f"http://{rest}")
    parts = urlsplit(text)
    if not parts.path.strip("/") or (parts.port or GIT_PORT) < 1024:
        raise Invalid(f"{text[:200]!r} is no URL of git's", hint="git://HOST/PATH")
    return Source(url=text)


def _hosted(name: str) -> str:
    if "/" in name or ":" in name:
        raise Invalid(
            f"{name[:80]!r} is no repository to clone from",
            hint="the name of one of this machine, or a URL: https://, http://, git://",
        )
    return check_id(name, "repository")
