"""Finds the rooms' doors by file name: `geard/<room>/<door>.py`. Nobody imports a door by name.

The doors: `settings` (what an admin may settle), `requests` (words), `commands` (terminal), `operations` (deeds),
`facet` (a room's share of every gear), `services` (work that lasts as long as the agent), `entrance`
(links of the room's own, each standing for another request), `protocol` (answers to a protocol of others).
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType
from typing import Any


def rooms_with(door: str) -> list[str]:
    here = os.path.dirname(__file__)
    return sorted(room for room in os.listdir(here) if os.path.isfile(f"{here}/{room}/{door}.py"))


@cache
def doors(door: str) -> tuple[ModuleType, ...]:
    """Every room's module of that name, loaded, in the rooms' alphabetical order."""
    return tuple(importlib.import_module(f"geard.{room}.{door}") for room in rooms_with(door))


def load() -> tuple[Any, ...]:
    """Load every room's operations; the rooms' facets."""
    load_operations()
    return facets()


def load_operations(request: type | None = None) -> None:
    """Those of the room whose request it is; without one, all rooms'."""
    if request is None:
        doors("operations")
    else:
        importlib.import_module(f"{request.__module__.rpartition('.')[0]}.operations")


def facets() -> tuple[Any, ...]:
    """Each room's share of a gear; what an admin may settle is loaded with them."""
    doors("settings")
    return tuple(module.facet for module in doors("facet"))
