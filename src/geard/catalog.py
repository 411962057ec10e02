"""Finds the rooms' doors by file name: `geard/<room>/<door>.py`. Nobody imports a door by name.

The doors: `settings` (what an admin may settle), `requests` (words), `commands` (terminal), `operations` (deeds),
`facet` (a room's share of every gear), `services` (work that lasts as long as the agent), `entrance`
(links of the room's own, each standing for another request), `protocol` (answers to a protocol of others).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


def rooms_with(door: str) -> list[str]:
    here = Path(__file__).parent
    return sorted(path.parent.name for path in here.glob(f"*/{door}.py"))


def door_with(door: str, text: str) -> Iterator[ModuleType]:
    """The modules of that name whose source has this text, each loaded as it is asked for."""
    for room in rooms_with(door):
        if os.fsencode(text) in Path(__file__).with_name(room).joinpath(f"{door}.py").read_bytes():
            yield importlib.import_module(f"geard.{room}.{door}")


@cache
def doors(door: str) -> tuple[ModuleType, ...]:
    """Every room's module of that name, loaded, in the rooms' alphabetical order."""
    return tuple(importlib.import_module(f"geard.{room}.{door}") for room in rooms_with(door))


def load() -> tuple[Any, ...]:
    """Load every room's operations; the rooms' facets."""
    doors("settings")
    doors("operations")
    return tuple(module.facet for module in doors("facet"))
