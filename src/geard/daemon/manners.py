"""Requests that a web page made its reader's browser send: refused, whoever the reader is.

The loopback door trusts the uid that connects, and a browser connects to whatever a page names. Two things
give such a request away: a Host that is not this machine (DNS rebinding), and what browsers say of its origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from multidict import CIMultiDictProxy

from geard.failures import Denied

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_OWN_SITE = ("", "none", "same-origin")
# Every browser sends the first with everything, and no page can keep it from doing so.
_OF_BROWSERS = ("Accept-Language", "Sec-Fetch-Site", "Origin")


def check_manners(
    headers: CIMultiDictProxy[str], own_names: frozenset[str] | None, *, link: bool = False, shown: bool = False
) -> None:
    """Raises Denied. Without `own_names` a program may name any Host: there is none on a unix socket. A browser
    gets there by a port that somebody forwards to the socket (ssh -L), and names its own machine.

    `link` says that what is asked for holds nothing of this machine: a link to it on a page of another site may be
    followed. Neither may that page read it, nor show it inside itself.

    `shown`: there is a token in it, or it is by TLS and in another protocol. A browser has none for the name by
    which a page has it come here, and programs that say their language as browsers do (git) may then call this
    machine what they like.
    """
    hosts = headers.getall("Host", [])
    known = _LOOPBACK | (own_names or frozenset())
    named = own_names is not None or (not shown and any(name in headers for name in _OF_BROWSERS))
    if named and (len(hosts) != 1 or host_name(hosts[0]) not in known):
        raise Denied(
            f"this agent is not {', '.join(hosts) or 'nameless'}",
            hint="ask for localhost, 127.0.0.1 or [::1]",
        )
    if link and _followed(headers):
        return
    if headers.get("Sec-Fetch-Site", "").lower() not in _OWN_SITE or not _own_origin(headers, hosts):
        raise Denied("a web page of another site may not ask this agent")


def host_name(host: str) -> str | None:
    """The name in a Host header, in small letters and without its port; None where there is none."""
    try:
        split = urlsplit(f"//{host}")
        _ = split.port  # raises for what is no port
        return split.hostname if not split.username else None
    except ValueError:
        return None


def _followed(headers: Mapping[str, str]) -> bool:
    """Whether somebody opened it in a window of its own (w3c.github.io/webappsec-fetch-metadata)."""
    return headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"


def _own_origin(headers: Mapping[str, str], hosts: list[str]) -> bool:
    origin = headers.get("Origin")
    return origin is None or [origin.lower().partition("://")[2]] == [host.lower() for host in hosts]
