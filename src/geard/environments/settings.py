"""Where environments may be fetched from."""

from __future__ import annotations

from typing import ClassVar

from geard.host.fetch import check_networks
from geard.settings import Section


class FetchSettings(Section):
    key: ClassVar[str] = "fetch"
    allow: tuple[str, ...] = ()
    """networks that are not public, and may be fetched from all the same: `10.0.0.0/8`"""

    def check(self) -> None:
        check_networks(self.allow)
