"""Asking other machines for somebody: as nobody, and only where strangers may send us.

The loopback door trusts uid 0, and whoever names a URL chooses where it leads. So a program of its own asks
(`gear-fetch`), as the user `nobody`; addresses that are not public are refused, unless the admin's settings allow
them; and the agent's own port on this machine is refused always (docs/SECURITY.md).
"""

from __future__ import annotations

import base64
import ipaddress
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geard.failures import Denied, Invalid, Unavailable
from geard.host.process import follow, run
from geard.host.unit_hooks.fetch import parse_url, refusal

LIMIT = 100 * 1_024
SECONDS = 15
REDIRECTS = 5
_HINT = "[{}] allow in /etc/geard/geard.toml may permit it"
PROGRAM = "/usr/lib/geard/gear-fetch"


@dataclass(frozen=True)
class Reply:
    status: int
    reason: str
    retry_after: str
    """as the server says it; empty where it does not"""
    body: bytes = b""


async def fetch_text(url: str, allow: Sequence[str]) -> str:
    """The text behind an http(s) URL, of at most 100 KiB; at most 5 redirects are followed.

    `allow` are networks beside the public ones. Raises Invalid with what went wrong.
    """
    check_url(url)
    try:
        reply = await _ask("GET", url, {}, b"", allow, redirects=REDIRECTS, limit=LIMIT)
    except Unavailable as failure:
        raise Invalid(
            f"cannot fetch {without_query(url)}: {failure.message}", hint=_hint(failure, "fetch")
        ) from None
    if not 200 <= reply.status < 300:
        raise Invalid(f"cannot fetch {without_query(url)}: the server answered {reply.status} {reply.reason}")
    try:
        return reply.body.decode()
    except UnicodeDecodeError:
        raise Invalid(f"cannot use {without_query(url)}: it is not UTF-8") from None


async def fetch_to(file: int, url: str, allow: Sequence[str], *, limit: int, seconds: int) -> None:
    """Write what is behind an http(s) URL to a file, of at most `limit` bytes. Raises as `fetch_text`."""
    order = _order("GET", check_url(url), {}, b"", allow, redirects=REDIRECTS, limit=limit, seconds=seconds)
    said: list[bytes] = []
    status = await follow(
        [sys.executable, "-I", "-S", PROGRAM],
        said.append,
        stdout=file,
        stdin=json.dumps({**order, "Raw": True}).encode(),
    )
    if status != 0:
        failure = Unavailable(b"".join(said).decode(errors="replace").strip() or "no reason given")
        raise Invalid(f"cannot fetch {without_query(url)}: {failure.message}", hint=_hint(failure, "fetch"))


async def post(url: str, body: bytes, headers: Mapping[str, str], allow: Sequence[str]) -> Reply:
    """POST `body`; no redirect is followed, and of the answer only the head is read.

    Raises Unavailable where nobody answers, or may be asked there.
    """
    try:
        return await _ask("POST", url, headers, body, allow, redirects=0, limit=0)
    except Unavailable as failure:
        raise Unavailable(failure.message, hint=_hint(failure, "callbacks")) from None


def check_url(url: str) -> str:
    """`url`, if it is one that may be asked as far as its letters tell. Raises Invalid."""
    try:
        parse_url(url)
    except ValueError as error:
        raise Invalid(
            f"cannot use {without_query(url)!r}: {error}", hint="such as https://example.com/path"
        ) from None
    return url


def check_target(url: str, allow: Sequence[str]) -> None:
    """As `check_url`; and that an address in it, or this machine's own name, is one that may be asked.

    What other names lead to is seen when they are resolved. Raises Invalid, Denied.
    """
    host = (parse_url(check_url(url)).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host.rpartition(".")[2] == "localhost" else host)
    except ValueError:
        return
    if refused := refusal(address, 0, [ipaddress.ip_network(text) for text in allow], own=False):
        raise Denied(f"{without_query(url)}: {refused}", hint=_HINT.format("callbacks"))


def without_query(url: str) -> str:
    """`url` as messages show it: what stands behind a `?` and before an `@` is often a secret."""
    scheme, mark, rest = url[:300].partition("?")[0].partition("://")
    if not mark:
        return scheme
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def origin(url: str) -> str:
    """`https://host:port`, which is all that the journal is told: a path may be a secret too."""
    return "/".join(without_query(url).split("/")[:3])


def check_networks(allow: Sequence[str]) -> None:
    """Raises Invalid for what is no network, such as `10.0.0.1/8`."""
    for text in allow:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise Invalid(f"allow: {error}", hint="such as 10.0.0.0/8") from None


async def _ask(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    allow: Sequence[str],
    *,
    redirects: int,
    limit: int,
) -> Reply:
    order = _order(method, url, headers, body, allow, redirects=redirects, limit=limit, seconds=SECONDS)
    program = [sys.executable, "-I", "-S", PROGRAM]
    done = await run(program, stdin=json.dumps(order).encode(), timeout=SECONDS + 5, check=False)
    if done.status != 0:
        raise Unavailable(done.errors.strip() or "no reason given")
    found = json.loads(done.output)
    return Reply(found["Status"], found["Reason"], found["RetryAfter"], base64.b64decode(found["Body"]))


def _order(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    allow: Sequence[str],
    *,
    redirects: int,
    limit: int,
    seconds: int,
) -> dict[str, Any]:
    return {
        "Method": method,
        "Url": url,
        "Headers": {"User-Agent": "geard", **headers},
        "Body": base64.b64encode(body).decode(),
        "Allow": list(allow),
        "Redirects": redirects,
        "Limit": limit,
        "Seconds": seconds,
    }


def _hint(failure: Unavailable, table: str) -> str:
    return _HINT.format(table) if "is not a public address" in failure.message else ""
