"""Starts that wait for far ends: none may wait for itself."""

from __future__ import annotations

from collections.abc import Sequence

from geard.failures import Invalid
from geard.host.paths import Paths
from geard.links.file import Link
from geard.links.starting import waits_in_circle
from geard.links.store import place


def check_waits(paths: Paths, id: str, links: Sequence[Link]) -> None:
    """Raises Invalid where a start of the gear would wait for a port of its own, or of one that waits for it."""
    circle = waits_in_circle(place(paths, id), links)
    if circle:
        raise Invalid(
            f"a start of {id} would wait for itself"
            if len(circle) == 2
            else f"a start of {id} would wait for itself, in a circle: {' -> '.join(circle)}",
            hint="without waiting for that link: programs that need each other have to be patient themselves",
        )
