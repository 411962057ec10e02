"""What an admin may settle for a whole machine: /etc/geard/geard.toml, a table for each room that has a say.

    class PortSettings(Section):
        key = "ports"
        range: str = "4000-59999"

A room declares its tables in `settings.py`; keys are written as in `stop-timeout`. `geard.host.settings` reads
them.
"""

from __future__ import annotations

from typing import ClassVar

from geard.words import Word


class Section(Word, rename="kebab"):
    """One table of the settings; each field has the value that holds where nothing is written."""

    key: ClassVar[str]

    def check(self) -> None:
        """Raise Invalid for values that cannot be; the message begins with the key."""


def sections() -> dict[str, type[Section]]:
    """Every table there is, by its name; the rooms' `settings` must have been loaded."""
    return {kind.key: kind for kind in Section.__subclasses__()}
