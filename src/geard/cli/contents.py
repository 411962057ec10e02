"""The contents of `gear --help`: every verb, what is said of it there, and the module that has it.

Asking the rooms means loading them all, which takes longer than everything else that `gear --help` does. So a
wheel carries what they said when it was built (`packaging/contents.py`). A source tree has no such file: nothing
there can be out of date.
"""

from __future__ import annotations

import os

import click
import msgspec

FILE = os.path.join(os.path.dirname(__file__), "contents.json")


class Entry(msgspec.Struct, frozen=True):
    """A verb, as it is shown beside others."""

    name: str
    module: str
    group: str
    sentence: str
    aliases: tuple[str, ...] = ()
    hidden: bool = False

    def shown(self) -> click.Command:
        """A command that has no more than what is shown."""
        return click.Command(self.name, help=self.sentence, hidden=self.hidden)


def carried() -> list[Entry] | None:
    """What this geard was built with; None in a source tree."""
    try:
        with open(FILE, "rb") as file:
            return msgspec.json.decode(file.read(), type=list[Entry])
    except FileNotFoundError:
        return None
