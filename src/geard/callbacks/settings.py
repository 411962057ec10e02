"""Where callbacks may lead."""

from __future__ import annotations

from typing import ClassVar

from geard.host.fetch import check_networks
from geard.settings import Section


class CallbackSettings(Section):
    key: ClassVar[str] = "callbacks"
    allow: tuple[str, ...] = ()
    """networks that are not public, and may be told all the same: `10.0.0.0/8`"""

    def check(self) -> None:
        check_networks(self.allow)
