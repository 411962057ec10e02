"""Where environments may be fetched from."""

from __future__ import annotations

import ipaddress
from typing import ClassVar

from geard.failures import Invalid
from geard.settings import Section


class FetchSettings(Section):
    """Read by gear-fetch itself, which loads nothing of this."""

    key: ClassVar[str] = "fetch"
    allow: tuple[str, ...] = ()
    """networks that are not public, and may be fetched from all the same: `10.0.0.0/8`"""

    def check(self) -> None:
        for text in self.allow:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise Invalid(f"allow: {error}", hint="such as 10.0.0.0/8") from None
