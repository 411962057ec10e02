"""Fetching a URL for somebody: as nobody, and only from where strangers may send us.

The loopback door trusts uid 0, so nothing of uid 0 may be steered to it: the fetch runs as the user `nobody`,
and loopback, link-local and private addresses are refused unless `/etc/geard/geard.toml` allows them:

    [fetch]
    allow = ["10.0.0.0/8"]
"""

from __future__ import annotations

import sys

from geard.failures import Invalid
from geard.host.process import run

LIMIT = 100 * 1_024
SECONDS = 20
PROGRAM = "/usr/lib/geard/gear-fetch"


async def fetch_text(url: str) -> str:
    """The text behind an http(s) URL, of at most 100 KiB. Raises Invalid with what went wrong."""
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"cannot fetch {url!r}", hint="a URL begins with http:// or https://")
    finished = await run([sys.executable, "-I", "-S", PROGRAM, url, str(LIMIT)], timeout=SECONDS, check=False)
    if finished.status != 0:
        raise Invalid(f"cannot fetch {url}: {finished.errors.strip() or 'no reason given'}")
    return finished.output
