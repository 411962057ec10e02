"""Who may have the agent fetch which URL."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from geard.environments.settings import FetchSettings
from geard.failures import Denied
from geard.host import Host
from geard.request import Asker


def check_source(url: str, asker: Asker, host: Host) -> None:
    """Raises Denied where that takes the scope admin: it is fetched from where this machine stands."""
    if url and not asker.may("admin") and not permitted(url, host.settings.section(FetchSettings).urls):
        raise Denied(
            "having the agent fetch that URL takes the scope admin",
            hint="an admin may permit it for others: [fetch] urls in /etc/geard/geard.toml",
        )


def permitted(url: str, allowed: Sequence[str]) -> bool:
    """Whether `url` is one of those allowed, or below one: of the same scheme, host and port, without detours."""
    try:
        asked = urlsplit(url)
        if asked.username is not None or ".." in unquote(asked.path) or "\\" in url:
            return False
        return any(
            (asked.scheme, asked.hostname, asked.port) == (known.scheme, known.hostname, known.port)
            and (asked.path == known.path or asked.path.startswith(known.path.rstrip("/") + "/"))
            for known in map(urlsplit, allowed)
        )
    except ValueError:
        return False
