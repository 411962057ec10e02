"""Where environments may be fetched from."""

from __future__ import annotations

from typing import ClassVar

from geard.failures import Invalid
from geard.host.fetch import check_networks
from geard.settings import Section


class FetchSettings(Section):
    key: ClassVar[str] = "fetch"
    allow: tuple[str, ...] = ()
    """networks that are not public, and may be fetched from all the same: `10.0.0.0/8`"""

    urls: tuple[str, ...] = ()
    """what askers without the scope admin may have fetched: each, and all below it"""

    def check(self) -> None:
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise Invalid(f"urls: {url!r} is no URL", hint="it begins with http:// or https://")
        check_networks(self.allow)
